"""The trusted Lua of the child, looked at from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.child.runtime import PRELUDE
from tests.stock_lua import stock_lua

FOLDER = Path(__file__).parents[2] / "sandbox/child/prelude"


def test_every_file_of_the_prelude_is_loaded() -> None:
    """No prelude file lies about unused, none is missing."""
    assert sorted(path.stem for path in FOLDER.glob("*.lua")) == sorted([*PRELUDE, "boot"])


@pytest.mark.parametrize("name", PRELUDE)
def test_no_trusted_function_names_a_global(name: str) -> None:
    """Functions of the prelude use locals only: a global would be one a script could replace."""
    dump = stock_lua("return string.dump(assert(load(..., '=x', 't')))", _source(name))

    # A function has _ENV among its upvalues exactly when it names a global; the file itself always.
    assert dump.count(b"_ENV") == 1


@pytest.mark.parametrize("name", PRELUDE)
def test_no_trusted_code_calls_methods(name: str) -> None:
    """Trusted code never calls s:method(): the table it would be looked up in is the script's."""
    lines = _source(name).decode().splitlines()
    code = [line.partition("--")[0] for line in lines]

    assert [line for line in code if _calls_a_method(line)] == []


def _source(name: str) -> bytes:
    return (FOLDER / f"{name}.lua").read_bytes()


def _calls_a_method(line: str) -> bool:
    quiet = "".join(part for index, part in enumerate(line.split('"')) if index % 2 == 0)
    before, colon, after = quiet.partition(":")
    return bool(colon) and before[-1:].isalnum() and after[:1].isalpha()
