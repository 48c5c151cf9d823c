"""Any JSON value survives the way into Lua and back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lua_child import run_lua

NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = st.booleans() | NUMBERS | TEXT
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner | st.none(), max_size=6) | st.dictionaries(TEXT, inner, max_size=6)
    ),
    max_leaves=25,
)
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def typed(value: Any) -> Any:
    """Give a value with its types, so that 1 and 1.0 differ; -0.0 too."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return (type(value).__name__, repr(value))


@QUICK
@given(VALUES | st.none())
def test_values_come_back_as_they_went(value: Any) -> None:
    """Through input, decode, encode, a call, a reply and the result, a value stays what it was."""
    script = """
        local text = json.encode(input)
        local again = app.integrations.demo.echo(json.decode(text))
        return { input = input, again = again, calls = json.array({ again }) }
    """
    ended = run_lua(script, json.dumps(value))
    wanted = {"calls": [value]} if value is not None else {"calls": []}
    if value is not None:
        wanted |= {"input": value, "again": value}

    assert typed(ended.value) == typed(wanted)


@QUICK
@given(TEXT)
def test_any_text_decodes_or_is_refused(text: str) -> None:
    """Whatever text is given to json.decode, it gives a value or an error, as Python's does."""
    script = "local ok, v = pcall(json.decode, input) return { ok, ok and json.encode(v) or v }"
    ok, shown = run_lua(script, json.dumps(text)).value
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except ValueError:
        assert not ok
        return
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return  # it becomes a float
    assert ok, shown
    if value not in (None, {}):
        assert json.loads(shown) == value


def _no_constant(name: str) -> None:
    raise ValueError(name)


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_as_a_script_end_in_a_reason(script: bytes) -> None:
    """Whatever bytes are given as a script, the child ends with a frame, not with a crash."""
    ended = run_lua(script)

    assert ended.reason in {"ok", "syntax_error", "script_error", "invalid_result"}
    assert ended.exit_code == 0
