"""The documentation over HTTP: who sees which pages, in which form, and what is kept by caches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from api.problems import Problem
from core.redis_server import PrivateRedis
from integrations.docs import Docs
from tests.api_server import ApiServer
from tests.shipped import CATALOG

DOCS: Docs = CATALOG.docs


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one pack of the operator's own."""
    directory = tmp_path_factory.mktemp("packs")
    page = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()
    (directory / "weather.yaml").write_text(page.split("```yaml\n")[1].partition("```")[0])
    (directory / "weather.md").write_text("A guide.\n")
    return directory


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis, packs: Path) -> Iterator[ApiServer]:
    """One API, with a pack of the operator's own."""
    with ApiServer(redis_server.url, packs_dir=packs) as server:
        yield server


@pytest.fixture
def anybody(api: ApiServer) -> Iterator[httpx2.Client]:
    """A client without a key."""
    with api.client() as made:
        yield made


@pytest.fixture
def tenant(api: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """A client of tenant acme."""
    with api.client("acme") as made:
        yield made


def test_every_page_is_readable_without_a_key(anybody: httpx2.Client) -> None:
    """The list names all pages we ship; each address in it gives the text that scripts read."""
    listed = anybody.get("/v1/docs").json()["data"]
    assert [one["name"] for one in listed] == DOCS.names
    for one in listed[:4]:
        answer = anybody.get(one["href"])
        assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
        assert answer.text == DOCS.read(one["name"])


@pytest.mark.parametrize(
    "name", ["convex.query_documents", "integrations.mux", "app.integrations.mux.mux_list_assets"]
)
def test_every_spelling_of_scripts_works(anybody: httpx2.Client, name: str) -> None:
    """What `docs.read` takes, the address takes."""
    assert anybody.get(f"/v1/docs/{name}").text == DOCS.read(name)


@pytest.mark.parametrize(
    ("accept", "of_page", "of_list"),
    [
        ("*/*", "text/markdown", "application/json"),
        ("application/json", "application/json", "application/json"),
        ("text/markdown", "text/markdown", "text/markdown"),
        ("text/html, text/*;q=0.5, application/json;q=0.4", "text/markdown", "text/markdown"),
        ("application/json;q=0.9, text/markdown;q=0.1", "application/json", "application/json"),
        ("text/markdown;q=x", "text/markdown", "application/json"),
        ("image/png", "text/markdown", "application/json"),
    ],
)
def test_the_form_follows_accept(
    anybody: httpx2.Client, accept: str, of_page: str, of_list: str
) -> None:
    """Markdown or JSON, as is liked better; something is always given."""
    headers = {"Accept": accept}
    page = anybody.get("/v1/docs/lua", headers=headers)
    listed = anybody.get("/v1/docs", headers=headers)
    assert page.headers["content-type"].startswith(of_page)
    assert listed.headers["content-type"].startswith(of_list)
    if of_page == "application/json":
        assert page.json()["text"] == DOCS.read("lua")


def test_search_gives_the_best_first(anybody: httpx2.Client) -> None:
    """`q` searches, `limit` bounds, and each hit leads to its page."""
    found = anybody.get("/v1/docs", params={"q": "list assets", "limit": 2}).json()["data"]
    assert found[0]["name"] == "mux.list_assets"
    assert len(found) == 2
    assert found[0]["score"] >= found[1]["score"]
    text = anybody.get(
        "/v1/docs", params={"q": "list assets"}, headers={"Accept": "text/markdown"}
    ).text
    assert text.startswith("- [Mux: ")
    assert "(/v1/docs/mux.list_assets)" in text


def test_an_unknown_page_names_the_nearest(anybody: httpx2.Client) -> None:
    """404, what was asked for, and what was meant."""
    answer = anybody.get("/v1/docs/integrations.mux.list_asset")
    problem = Problem.model_validate_json(answer.text)
    assert (answer.status_code, problem.code) == (404, "not_found")
    assert problem.detail == "there is no page 'integrations.mux.list_asset'"
    assert (problem.hint or "").startswith("did you mean mux.list_assets? GET /v1/docs lists all")


@pytest.mark.parametrize(
    "path",
    [
        *("..%2f..%2fetc%2fpasswd", "%00", "x%0d%0aX-Evil:1", "__class__", "%ff", "lua.md"),
        "x" * 20_000,
    ],
)
def test_no_name_is_a_path_or_a_header(anybody: httpx2.Client, path: str) -> None:
    """A page is an entry of a dictionary; anything else is a short problem."""
    answer = anybody.get(f"/v1/docs/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-evil" not in answer.headers
    assert len(answer.content) < 2_000


@pytest.mark.parametrize("query", ["limit=0", "limit=51", "query=x", "q=a&q=b", "q=" + "x" * 513])
def test_wrong_parameters_are_refused(anybody: httpx2.Client, query: str) -> None:
    """An unknown or repeated parameter is not lost without a word."""
    answer = anybody.get(f"/v1/docs?{query}")
    assert Problem.model_validate_json(answer.text).code == "invalid"


def test_unchanged_pages_are_not_sent_again(anybody: httpx2.Client) -> None:
    """A tag names the text in one form; with it the answer is empty, but for another form not."""
    first = anybody.get("/v1/docs/mux")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "public, max-age=300"
    assert first.headers["vary"] == "Accept, Authorization"
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = anybody.get("/v1/docs/mux", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = {"If-None-Match": tag, "Accept": "application/json"}
    assert anybody.get("/v1/docs/mux", headers=other).status_code == 200
    assert anybody.get("/v1/docs/heygen", headers={"If-None-Match": tag}).status_code == 200


def test_the_operators_own_pages_need_a_key(anybody: httpx2.Client, tenant: httpx2.Client) -> None:
    """Without a key they do not exist, not even as the nearest name; with one they do."""
    assert tenant.get("/v1/docs/weather.get_forecast").text.startswith("# weather.get_forecast")
    assert tenant.get("/v1/docs/weather").headers["cache-control"] == "private, max-age=300"
    assert "weather" in tenant.get("/llms.txt").text
    for path in ("/v1/docs/weather", "/v1/docs/weather.get_forecas"):
        hidden = anybody.get(path)
        assert hidden.status_code == 404
        assert "weather.get_forecast" not in hidden.text
    for path in ("/v1/docs", "/v1/docs?q=weather+forecast", "/v1/docs/index", "/llms.txt"):
        assert "weather" not in anybody.get(path).text


def test_a_key_that_opens_nothing_is_refused(anybody: httpx2.Client) -> None:
    """A wrong key is told, rather than taken for none."""
    answer = anybody.get("/v1/docs", headers={"Authorization": "Bearer ms_live_x"})
    assert Problem.model_validate_json(answer.text).code == "unauthenticated"


def test_llms_txt_has_the_form_and_every_link_resolves(anybody: httpx2.Client) -> None:
    """Title, summary, lists of links; each link is an address that answers."""
    answer = anybody.get("/llms.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    lines = answer.text.splitlines()
    assert lines[0] == "# Moonsand"
    assert lines[2].startswith("> ")
    assert [one for one in lines if one.startswith("## ")] == ["## Guides", "## Functions"]
    entries = [one for one in lines if one.startswith("- ")]
    links = [re.fullmatch(r"- \[[^\]]+\]\((/[^)]+)\): .+", one) for one in entries]
    assert all(links)
    addresses = [one[1] for one in links if one]
    assert {f"/v1/docs/{name}" for name in DOCS.names} <= set(addresses)
    assert [one for one in addresses if anybody.get(one).status_code != 200] == []
