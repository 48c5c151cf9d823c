"""The documentation scripts read: complete, found by words, and only by name."""

from __future__ import annotations

import pytest

from integrations.failure import CallFailed
from integrations.ranking import Ranking
from tests.shipped import CATALOG

DOCS = CATALOG.docs


@pytest.mark.parametrize(
    "name",
    [
        *("mux", "integrations.mux", "app.integrations.mux", " mux "),
        *("mux.list_assets", "integrations.mux.list_assets", "mux.mux_list_assets"),
        *("mux.get_current_user", "mux.get_realtime_data", "index"),
    ],
)
def test_every_documented_spelling_reads_a_page(name: str) -> None:
    """The spellings of the customer's document, with and without prefix."""
    assert DOCS.read(name).startswith("# ")


def test_the_overview_has_every_function_with_parameters_and_example() -> None:
    """One page is enough to write a script."""
    page = DOCS.read("mux")
    assert page.startswith("# Mux — Lua API Reference\n")
    for function in CATALOG.integrations["mux"].functions:
        assert f"\n## {function.name}\n" in page
        assert function.spec is not None
        assert function.spec.example.lua.rstrip() in page
        assert all(f"| `{name}` |" in page for name in function.properties)
    assert "app.integrations.mux.production.list_assets" in page


def test_a_functions_page_says_what_it_needs() -> None:
    """Class, parameters, example, reply, names and grant."""
    page = DOCS.read("mux.create_asset")
    for part in (
        "# mux.create_asset\n\nWrite. Create a new video asset",
        "| `input` | string or object or array | yes | URL of the video file to ingest |",
        '| `playback_policy` | array or "public" or "signed" or "drm" | no |',
        "```lua\nlocal result = app.integrations.mux.create_asset({",
        '## Reply\n\n```json\n{\n  "data": {',
        "- Lua path: `app.integrations.mux.create_asset`",
        "- grant it needs: `mux:write` or `mux.create_asset`",
    ):
        assert part in page


def test_the_index_names_every_page() -> None:
    """Whoever reads `index` or `list` knows all there is."""
    assert [one["name"] for one in DOCS.list()] == DOCS.names
    for name in DOCS.names[1:]:
        assert f"`{name}`" in DOCS.read("index")


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("create live stream", "mux.create_live_stream"),
        ("how many viewers are watching", "mux.get_realtime_data"),
        ("ingest a video from a URL", "mux.create_asset"),
        ("LIST ASSETS", "mux.list_assets"),
        ("mux get_current_user", "mux.get_realtime_data"),
        ("get_current_user", "heygen.get_current_user"),
        ("patch fields of a document", "convex.update_document"),
        ("list voices and their languages", "heygen.list_voices"),
    ],
)
def test_search_finds_by_words(query: str, best: str) -> None:
    """The page one would expect comes first."""
    assert DOCS.search(query)[0]["name"] == best


def test_search_for_nothing_finds_nothing() -> None:
    """Words on no page, no words, and a flood of words: no error."""
    assert DOCS.search("zzzz") == DOCS.search("!?") == []
    assert len(DOCS.search("mux " * 100_000, 3)) == 3


@pytest.mark.parametrize(
    "name",
    [
        *("../../../../etc/passwd", "..%2f..%2fetc/passwd", "docs/../../etc/passwd", "/etc/passwd"),
        *(
            "....//....//etc/passwd",
            "..\\..\\etc\\passwd",
            "~/x",
            "mux.md",
            "",
            "\x00",
            "__class__",
        ),
    ],
)
def test_no_name_is_a_path(name: str) -> None:
    """A page is an entry of a dictionary; anything else is unknown."""
    with pytest.raises(CallFailed) as caught:
        DOCS.read(name)
    assert caught.value.code == "unknown_page"


def test_an_unknown_page_gets_the_nearest() -> None:
    """A typo is answered with the page that was meant."""
    with pytest.raises(CallFailed) as caught:
        DOCS.read("integrations.mux.list_asset")
    assert caught.value.message == (
        "There is no page 'integrations.mux.list_asset'. Did you mean: mux.list_assets?"
        f" docs.list() names all {len(DOCS.names)} pages."
    )


def test_rare_words_weigh_more_and_ties_keep_the_order_of_names() -> None:
    """A score depends on the texts alone."""
    ranking = Ranking({"b": "video video", "a": "video video", "c": "video caption"})
    assert [key for key, _ in ranking.search("video caption", 3)] == ["c", "a", "b"]
