"""The page `lua` that scripts read: it is there, complete, and its examples run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from integrations.catalog import Catalog, PackInvalid
from sandbox.limits import SPECS
from sandbox.script_names import PROVIDED
from tests.lua_child import run_lua
from tests.shipped import CATALOG

DOCS = CATALOG.docs
TEXT = DOCS.read("lua")
EXAMPLES = re.findall(r"```lua\n(.*?)```", TEXT, re.DOTALL)


def answer_docs(call: list[Any]) -> tuple[bool, Any]:
    """Answer as the broker does."""
    name, given = call[2], call[3]
    if name == "sleep":
        return True, None
    if name == "list":
        return True, DOCS.list()
    if name == "search":
        return True, DOCS.search(*given)
    try:
        return True, DOCS.read(given[0])
    except Exception as unknown:  # noqa: BLE001 (the error object of the script)
        return False, {"code": "unknown_page", "message": str(unknown), "retriable": False}


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_runs(example: str) -> None:
    """Every example of the page is a script that succeeds."""
    ended = run_lua(example, answer=answer_docs)
    assert (ended.reason, ended.message) == ("ok", "")


def test_every_name_and_limit_is_told() -> None:
    """What a script has beside Lua's libraries, and each limit with its default."""
    for table in ("app", "docs", "json", "mcp", "parallel", "regex"):
        assert [one for one in PROVIDED[table] if f"`{table}.{one}" not in TEXT] == []
    for name in ("input", "print", "dump"):
        assert f"`{name}`" in TEXT
    for name, spec in SPECS.items():
        assert f"| `{name}` | {spec.default:,} | {spec.maximum:,} |" in TEXT


def test_it_is_found_from_the_index_and_by_words() -> None:
    """An agent that knows nothing reads `index`, or searches."""
    assert "- `lua`: Lua for scripts." in DOCS.read("index")
    for words in ("regex match", "json encode null", "parallel concurrency", "memory limit"):
        assert DOCS.search(words)[0]["name"] == "lua"


@pytest.mark.parametrize("name", ["lua", "index", "mcp"])
def test_no_pack_takes_the_name_of_a_page(name: str, tmp_path: Path) -> None:
    """A pack with such a name is refused, else it would hide the page."""
    page = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()
    text = page.split("```yaml\n")[1].partition("```")[0]
    (tmp_path / f"{name}.yaml").write_text(text.replace("name: weather", f"name: {name}", 1))
    (tmp_path / "weather.md").write_text("A guide.\n")
    with pytest.raises(PackInvalid) as caught:
        Catalog.load(tmp_path)
    assert caught.value.detail == f"{name}.yaml: this is the name of a page of ours"


def test_it_fits_into_a_model() -> None:
    """The page is short enough to be read at once."""
    assert len(json.dumps(TEXT)) < 12_000
