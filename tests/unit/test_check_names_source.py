"""The names that checks know are the names that the sandbox has."""

from __future__ import annotations

import re
from pathlib import Path

from integrations.check_globals import INSTEAD, is_known
from integrations.check_report import CODES
from sandbox.script_names import BASIC, LIBRARIES, OMITTED, PROVIDED

GOLDEN = Path(__file__).parents[1] / "security/policy_snapshot.txt"


def test_the_lists_are_the_golden_ones() -> None:
    """What a walk through the real sandbox found is what the lists say, name by name."""
    found = {
        line.partition(":")[0].removeprefix("_G.")
        for line in GOLDEN.read_text("utf-8").splitlines()
        if not line.startswith(("_G.app.integrations.", "_G:", "_G._G:"))
    }
    groups = LIBRARIES | PROVIDED
    told = {
        *BASIC,
        *groups,
        *(f"{group}.{name}" for group, all_ in groups.items() for name in all_),
    }
    assert told - {"_G", "input"} == found


def test_every_omission_has_a_hint() -> None:
    """Whoever used what was left out is told what to use instead, and none of it exists."""
    assert set(OMITTED) - set(INSTEAD) == set()
    assert [name for name in INSTEAD if is_known(tuple(name.split(".")))] == []


def test_every_code_is_documented() -> None:
    """docs/check.md has each code of a finding with its meaning, and no others."""
    text = (Path(__file__).parents[2] / "docs/check.md").read_text("utf-8")
    table = text.partition("## Findings")[2].partition("Each finding")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    assert dict(rows) == CODES
