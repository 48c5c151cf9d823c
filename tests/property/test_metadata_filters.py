"""Metadata filters in the jail's Lua say what a plain reading of their table says."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.lua_child import run_lua
from triggers.mux_mixpeek.rules import MetadataFilter, Operator
from triggers.mux_mixpeek.shipped import text_of

SCRIPT = (
    text_of("filters")
    + """
local results = json.array()
for index, case in ipairs(input) do
  results[index] = matches(case.asset, case.captured or {}, { case.rule })
end
return results
"""
)
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
NOTHING = object()


def lua(cases: list[dict[str, Any]]) -> list[bool]:
    """Give what the shipped filters say of each case."""
    found: list[bool] = run_lua(SCRIPT, json.dumps(cases)).value
    return found


def field_of(asset: Any, name: str) -> Any:
    """Look a field up: as a key, else dot by dot; null counts as missing."""
    if asset.get(name) is not None:
        return asset[name]
    for part in name.split("."):
        if not isinstance(asset, dict) or asset.get(part) is None:
            return NOTHING
        asset = asset[part]
    return asset


def number(value: Any) -> float | None:
    """Read a number, or a text that is one; no other."""
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def equal(found: Any, value: Any) -> bool:
    """Compare without taking one type for another."""
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    both_numbers = isinstance(found, int | float) and isinstance(value, int | float)
    return (both_numbers or type(found) is type(value)) and bool(found == value)


def contains(found: Any, value: Any) -> bool:
    """Look for a part of a text, or an entry of a list."""
    if isinstance(found, str):
        return isinstance(value, str) and value in found
    return isinstance(found, list) and any(equal(one, value) for one in found)


def oracle(asset: dict[str, Any], rule: dict[str, Any]) -> bool:
    """Say what the table says."""
    found, value = field_of(asset, rule["field"]), rule.get("value")
    left, right = number(found), number(value)
    numbers = left is not None and right is not None
    match rule["operator"]:
        case "equals":
            return equal(found, value)
        case "not_equals":
            return not equal(found, value)
        case "contains":
            return contains(found, value)
        case "not_contains":
            return not contains(found, value)
        case "exists":
            there = found is not NOTHING and found not in ("", [], {})
            return there == (value is not False and value != "false")
    holds = {"gt": "__gt__", "lt": "__lt__", "gte": "__ge__", "lte": "__le__"}
    return numbers and bool(getattr(left, holds[rule["operator"]])(right))


TEXTS = st.sampled_from(
    ["", "vi:1", "myapp|vi:1|v:abc", "ready", "10", " 10 ", "1e2", "0x10", "nan", "inf", "1_0", "é"]
) | st.text(max_size=4)
SCALARS = (
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.sampled_from([10, 10.0, 0, 0.5, -1])
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | TEXTS
)
VALUES = (
    SCALARS
    | st.none()
    | st.lists(SCALARS, max_size=3)
    | st.dictionaries(TEXTS, SCALARS, max_size=2)
)
NAMES = st.sampled_from(["passthrough", "duration", "meta.external_id", "meta", "a.b", "status"])


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Make a rule that may be kept."""
    operator = draw(st.sampled_from([one.value for one in Operator]))
    rule: dict[str, Any] = {"field": draw(NAMES), "operator": operator}
    if operator == "exists":
        return rule | draw(st.sampled_from([{}, {"value": True}, {"value": "false"}]))
    if operator in {"gt", "lt", "gte", "lte"}:
        return rule | {"value": draw(st.sampled_from([0, 10, 10.0, "10", " 1e2", -0.5]))}
    return rule | {"value": draw(SCALARS)}


ASSETS = st.fixed_dictionaries(
    {},
    optional={
        "passthrough": VALUES,
        "duration": VALUES,
        "status": VALUES,
        "meta": VALUES | st.fixed_dictionaries({}, optional={"external_id": VALUES}),
        "a.b": VALUES,
        "a": st.fixed_dictionaries({}, optional={"b": VALUES}),
    },
)


@settings(max_examples=40)
@given(st.lists(st.tuples(ASSETS, rules()), min_size=1, max_size=30))
def test_every_operator_says_what_its_table_says(
    pairs: list[tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    """Whatever an asset holds: no type is taken for another, missing fields have no value."""
    cases = [{"asset": asset, "rule": rule} for asset, rule in pairs]

    assert lua(cases) == [oracle(asset, rule) for asset, rule in pairs]


@pytest.mark.parametrize(
    ("asset", "rule", "passes"),
    [
        ({"passthrough": "myapp|vi:1|v:abc"}, ("passthrough", "contains", "vi:1"), True),
        ({"passthrough": "myapp|vi:0|v:abc"}, ("passthrough", "contains", "vi:1"), False),
        ({"status": "ready"}, ("status", "equals", "ready"), True),
        ({"resolution_tier": "audio-only"}, ("resolution_tier", "not_equals", "audio_only"), True),
        ({}, ("passthrough", "not_contains", "skip"), True),
        ({"duration": 23.86}, ("duration", "gt", 10), True),
        ({"created_at": "1700000001"}, ("created_at", "gte", 1_700_000_001), True),
        ({"meta": {"external_id": "x"}}, ("meta.external_id", "exists", True), True),
        ({"passthrough": ""}, ("passthrough", "exists", True), False),
        ({"a": 0}, ("a", "exists", True), True),
        ({"a": False}, ("a", "exists", True), True),
        ({"passthrough": "a%d"}, ("passthrough", "contains", "%d"), True),
    ],
)
def test_the_documents_examples(
    asset: dict[str, Any],
    rule: tuple[str, str, Any],
    passes: bool,  # noqa: FBT001 (a parameter of the table above)
) -> None:
    """Each example of the operators' table, and what is easily got wrong beside it."""
    given_rule = dict(zip(("field", "operator", "value"), rule, strict=True))

    assert lua([{"asset": asset, "rule": given_rule}]) == [passes]


def test_what_was_captured_can_be_filtered_by_its_own_name() -> None:
    """`playback_ids` of an object is a list of texts; the asset's has objects."""
    rule = {"field": "playback_ids", "operator": "contains", "value": "p1"}
    case = {"asset": {"playback_ids": [{"id": "p1"}]}, "captured": {"playback_ids": ["p1"]}}

    assert lua([case | {"rule": rule}]) == [True]


@settings(max_examples=200)
@given(rules())
def test_what_may_be_kept_is_kept(rule: dict[str, Any]) -> None:
    """Every rule that can be evaluated is taken."""
    assert MetadataFilter.model_validate(rule).field == rule["field"]


@pytest.mark.parametrize(
    "rule",
    [
        {"operator": "equals", "value": 1},
        {"field": "", "operator": "equals", "value": 1},
        {"field": "a", "operator": "like", "value": 1},
        {"field": "a", "operator": "equals"},
        {"field": "a", "operator": "equals", "value": None},
        {"field": "a", "operator": "equals", "value": [1]},
        {"field": "a", "operator": "contains", "value": {"b": 1}},
        {"field": "a", "operator": "gt", "value": True},
        {"field": "a", "operator": "gt", "value": "ten"},
        {"field": "a", "operator": "gt", "value": "0x10"},
        {"field": "a", "operator": "gt", "value": "1e999"},
        {"field": "a", "operator": "gt", "value": float("inf")},
        {"field": "a", "operator": "exists", "value": 1},
        {"field": "a", "operator": "equals", "value": 1, "case": "no"},
    ],
)
def test_a_rule_that_could_not_be_evaluated_is_refused(rule: dict[str, Any]) -> None:
    """It is refused when the sync is made, never met by a run."""
    with pytest.raises(ValidationError):
        MetadataFilter.model_validate(rule)
