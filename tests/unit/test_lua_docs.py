"""The reference of the Lua surface: complete, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.child import policy
from sandbox.limits import SPECS
from tests.lua_child import run_lua

TEXT = (Path(__file__).parents[2] / "docs/lua.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```lua\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_runs(example: str) -> None:
    """Every example of the reference is a script that succeeds."""
    ended = run_lua(example)

    assert (ended.reason, ended.message) == ("ok", "")


def test_every_name_is_documented() -> None:
    """Each allowed function stands in the table of names, each omission is named."""
    told = set(re.findall(r"`([\w.]+)`", TEXT))
    missing = [
        name for name in policy.names() if name not in told and name.split(".")[-1] not in told
    ]

    assert missing == []
    omitted = {name.split(".")[0] for name in policy.OMITTED} - {"os", "string", "python"}
    assert omitted <= told


def test_every_limit_is_documented() -> None:
    """Each limit a script can meet stands in the table of limits."""
    met = set(SPECS) - {"script_bytes", "input_bytes"}

    assert [name for name in met if f"| `{name}` |" not in TEXT] == []
