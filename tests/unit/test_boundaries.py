"""What SECURITY.md and the boundary modules say of themselves is held to."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| \d+ \| .+ \| (`[^|]+`) \| (`[^|]+`) \|$", re.MULTILINE)
_LABELS = ("Runs in:", "Trusts:", "Refuses:", "May import:")
#: Vocabulary of the ledger: types and no code.
_PLAIN = {"__init__.py", "archive.py", "tape.py"}
_BOUNDARIES = [
    *sorted(path for path in (ROOT / "sandbox").rglob("*.py") if path.name != "__init__.py"),
    ROOT / "integrations/broker.py",
    *sorted(path for path in (ROOT / "ledger").glob("*.py") if path.name not in _PLAIN),
    ROOT / "api/auth.py",
    ROOT / "worker/slot_worker.py",
]


def test_every_boundary_of_the_threat_model_names_real_files() -> None:
    """Each row of SECURITY.md names the files that enforce it and the tests that prove it."""
    text = (ROOT / "SECURITY.md").read_text()
    rows = _ROW.findall(text)

    assert len(rows) == len(re.findall(r"^\| \d+ \|", text, re.MULTILINE)) >= 20
    named = [name for row in rows for cell in row for name in cell.strip("`").split("`, `")]
    missing = [name for name in named if not (ROOT / name).is_file()]
    assert missing == []


@pytest.mark.parametrize("path", _BOUNDARIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_boundary_modules_say_what_they_trust(path: Path) -> None:
    """A boundary module opens with where it runs, whom it trusts, what it refuses and imports."""
    opening = path.read_text().split('"""')[1]

    assert [label for label in _LABELS if label not in opening] == []


def test_the_import_contracts_cover_every_room() -> None:
    """Every room that is shipped stands under the one-way rule, and the API under its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    contracts = {rule["name"]: rule for rule in project["tool"]["importlinter"]["contracts"]}

    layers = " | ".join(contracts["Rooms are one-way"]["layers"]).split(" | ")
    assert sorted(layers) == sorted(shipped)
    assert (
        "lupa"
        in contracts["The accepting side cannot run Lua nor call vendors"]["forbidden_modules"]
    )


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    """No module of the product has more than 400 lines."""
    rooms = [
        "sandbox",
        "core",
        "ledger",
        "tenancy",
        "integrations",
        "runs",
        "triggers",
        "worker",
        "scheduler",
        "api",
        "moonsand",
    ]
    long = [
        str(path.relative_to(ROOT))
        for room in rooms
        for path in (ROOT / room).rglob("*")
        if path.suffix in {".py", ".lua"} and len(path.read_text().splitlines()) > 400
    ]

    assert long == []
