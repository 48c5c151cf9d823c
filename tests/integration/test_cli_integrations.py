"""`moonsand integrations` shows, checks and calls what scripts can call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integrations.lint import lint
from integrations.luals import definitions
from integrations.stubs import Stubs
from tests.command import moonsand
from tests.shipped import CATALOG
from tests.stock_lua import stock_lua


@pytest.fixture
def accounts(stubs: Stubs, tmp_path: Path) -> str:
    """An accounts file for the stand-ins."""
    path = tmp_path / "accounts.toml"
    path.write_text(stubs.accounts_toml)
    return str(path)


def call(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Run a subcommand; give exit code, stdout and stderr."""
    done = moonsand("integrations", *arguments, stdin=stdin)
    return done.returncode, done.stdout, done.stderr


def test_list_names_every_function() -> None:
    """The list is what the catalog has, for people and for programs."""
    code, out, _ = call("list", "--json")
    assert code == 0
    listed = {one["name"] for row in json.loads(out) for one in row["functions"]}
    vendors = [one for one in CATALOG.integrations.values() if one.pack]
    assert listed == {function.full_name for one in vendors for function in one.functions}
    assert "  agora.stop_recording (write)\n" in call("list")[1]


def test_docs_search_and_schema_speak_of_the_same() -> None:
    """What is found can be read and has a schema."""
    code, out, _ = call("search", "stop", "recording", "--json")
    assert (code, json.loads(out)[0]["name"]) == (0, "agora.stop_recording")
    assert call("docs", "agora.agora_stop_recording")[1].startswith("# agora.stop_recording")
    schema = json.loads(call("schema", "agora.stop_recording")[1])
    assert schema["names"] == ["stop_recording", "agora_stop_recording"]
    assert schema["parameters"]["required"] == ["resource_id", "sid", "mode", "cname", "uid"]
    code, _, err = call("docs", "agora.stop_recoding")
    assert (code, "Did you mean: agora.stop_recording" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["mux.list_assets", '{"limit": 1}'], ""),
        (["app.integrations.mux.default.mux_list_assets", "-"], '{"limit": 1}'),
        (["mux.list_assets", "--arg", "limit=1", "--account", "default"], ""),
    ],
)
def test_a_call_prints_the_reply(accounts: str, arguments: list[str], stdin: str) -> None:
    """However the arguments come, the reply is the vendor's."""
    code, out, err = call("call", *arguments, "--accounts", accounts, stdin=stdin)
    assert (code, err) == (0, "")
    assert len(json.loads(out)["data"]) == 1


def test_a_dry_run_sends_nothing_and_shows_no_secret(stubs: Stubs, accounts: str) -> None:
    """The request is whole but for credentials."""
    code, out, _ = call(
        *("call", "mux.production.create_asset", "--arg", "input=https://e.example/v.mp4"),
        *("--dry-run", "--accounts", accounts),
    )
    shown = json.loads(out)
    assert (code, shown["account"], shown["effect"]) == (0, "production", "write")
    assert shown["request"]["method"] == "POST"
    assert json.loads(shown["request"]["body"]) == {"inputs": [{"url": "https://e.example/v.mp4"}]}
    assert shown["request"]["headers"]["Authorization"] == "[redacted]"
    assert "secret" not in out
    assert not stubs.mux_faults.seen


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["mux.list_asset"], 1, "Unknown function: mux.list_asset. Did you mean: list_assets?"),
        (["mux.list_assets", '{"limit": 0}'], 1, "limit must be at least 1, not 0"),
        (["mux.list_assets", "{"], 2, "the arguments: not JSON"),
        (["mux.list_assets", "[]"], 2, "must be a JSON object"),
        (["mux.none.list_assets"], 1, "mux has no account `none`"),
        (["list_assets"], 1, "give a name such as mux.list_assets"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_refused_call_says_why(
    accounts: str, arguments: list[str], code: int, words: str, more: list[str]
) -> None:
    """One line, and nothing was sent, with and without --dry-run."""
    ended, out, err = call("call", *arguments, *more, "--accounts", accounts)
    assert (ended, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1


def test_our_packs_are_clean() -> None:
    """Every built-in pack passes its own lint."""
    code, out, err = call("lint")
    assert (code, out) == (0, ""), out
    assert err.endswith(" packs, 0 problems\n")


def test_lint_names_every_problem(tmp_path: Path) -> None:
    """A pack that loads can still be found wanting; one that does not says where."""
    good = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()
    text = good.split("```yaml\n")[1].partition("```")[0]
    (tmp_path / "weather.yaml").write_text(
        text.replace(", description: How many days", "")
        .replace("weather.get_forecast(", "weather.forecast(")
        .replace("station_id: ZRH}\n      reply", "station_id: ..}\n      reply")
    )
    (tmp_path / "weather.md").write_text("\n")
    (tmp_path / "broken.yaml").write_text("format: 2\n")
    count, findings = lint(tmp_path)
    messages = [f"{one.file}: {one.message}" for one in findings]
    assert count == 2
    assert messages[0].startswith("broken.yaml: format: Input should be 1")
    assert messages[1:4] == [
        "weather.yaml: the guide weather.md is empty",
        "weather.yaml: get_forecast: its example does not call weather.get_forecast",
        "weather.yaml: get_forecast: parameter days has no description",
    ]
    assert "its example cannot be sent" in messages[4]
    assert call("lint", str(tmp_path))[0] == 1
    assert call("lint", str(tmp_path / "none.yaml"))[0] == 2


def test_definitions_are_lua_and_name_everything(tmp_path: Path) -> None:
    """The file for editors is Lua, and every name of every function stands in it."""
    catalog = CATALOG
    text = definitions(catalog.integrations.values())
    assert stock_lua('return select(2, load((...), "stubs")) or "ok"', text.encode()) == b"ok"
    assert text.startswith("---@meta\n")
    for integration in catalog.integrations.values():
        for function in integration.functions if integration.pack else ():
            for name in function.names:
                assert f"---@field {name} fun(parameters" in text
    assert '---@field mode "individual"|"mix"|"web"|"composite"|"webpage"|"web_page" ' in text
    out = tmp_path / "moonsand.lua"
    assert call("stubs", "--out", str(out))[0] == 0
    assert out.read_text() == text


def docs_of(*arguments: str) -> tuple[int, str, str]:
    """Run `moonsand docs`; give exit code, output and errors."""
    done = moonsand("docs", *arguments)
    return done.returncode, done.stdout, done.stderr


def test_the_documentation_is_read_outside_of_scripts() -> None:
    """`moonsand docs` gives what `docs.list`, `docs.search` and `docs.read` give scripts."""
    pages = CATALOG.docs
    assert docs_of("read", "convex.query_documents") == (
        *(0, pages.read("convex.query_documents")),
        "",
    )
    assert docs_of("read", "integrations.mux")[1] == pages.read("mux")
    assert docs_of("read", "lua")[1] == pages.read("lua")
    assert json.loads(docs_of("read", "mux", "--json")[1])["text"] == pages.read("mux")
    assert [one["name"] for one in json.loads(docs_of("list", "--json")[1])] == pages.names
    found = json.loads(docs_of("search", "list", "assets", "--json")[1])
    assert found[0]["name"] == "mux.list_assets"
    code, out, err = docs_of("read", "convex.query_document")
    assert (code, out) == (2, "")
    assert "Did you mean: convex.query_documents" in err
