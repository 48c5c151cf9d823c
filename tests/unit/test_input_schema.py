"""Schemas of inputs: what they may say, and that none costs more than its size allows."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from core.errors import Invalid
from triggers.input_schema import (
    MAX_ERRORS,
    MAX_LEVELS,
    MAX_PARTS,
    MAX_WORK,
    InputMismatch,
    check_input,
    check_schema,
)


def doubling(levels: int) -> dict[str, Any]:
    """Make a small schema that is checked twice as often with each level."""
    defs: dict[str, Any] = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)
    }
    return {"$defs": {**defs, f"a{levels}": {}}, "$ref": "#/$defs/a0"}


def nested(word: str, levels: int) -> Any:
    """Make a schema that stands in itself."""
    schema: Any = {}
    for _ in range(levels):
        schema = {word: schema}
    return schema


def nested_choices(levels: int) -> Any:
    """Make alternatives with one choice each, none of which fits a list of numbers."""
    schema: Any = {"items": {"type": "string"}}
    for _ in range(levels):
        schema = {"anyOf": [schema]}
    return schema


BACK = {"$ref": "#/$defs/part"}


def is_bounded(text: str, value: Any) -> bool:
    """Tell whether a check of `value` is begun, however it ends."""
    try:
        check_input("job@1", text, value)
    except InputMismatch:
        return True
    except Invalid as refused:
        return "the product may be at most" not in refused.detail
    return True


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value"],
            "additionalProperties": False,
        },
        "round": {"properties": {"a": {"$ref": "#/$defs/turn"}}},
        "turn": {"allOf": [{"oneOf": [True, {"$ref": "#/$defs/turn"}]}]},
    },
    "$ref": "#/$defs/node",
}
LOOP = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ([], "/input_schema"),
        ("object", "/input_schema"),
        ({"$ref": "#"}, "/input_schema/$ref"),
        ({"$ref": "#/$defs/none"}, "/input_schema/$ref"),
        ({"properties": {"left": {"$ref": "#/properties/left"}}}, None),
        (LOOP, None),
        ({"not": {"$ref": "#"}}, "/input_schema/not/$ref"),
        ({"dependentSchemas": {"a": {"$ref": "#"}}}, "/input_schema/dependentSchemas/a/$ref"),
        ({**TREE, "$ref": "#/$defs/round"}, None),
        ({"items": {"$ref": "#"}, "unevaluatedItems": False}, "/input_schema/unevaluatedItems"),
        ({"$ref": "file:///etc/passwd"}, "/input_schema/$ref"),
        ({"items": {"$ref": "other.json"}}, "/input_schema/items/$ref"),
        ({"$dynamicRef": "#node", "$dynamicAnchor": "node"}, "/input_schema/$dynamicRef"),
        ({"$id": "http://127.0.0.1/x"}, "/input_schema/$id"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "/input_schema/$schema"),
        (doubling(12), None),
        (nested("not", 40), None),
        (nested("default", 400), "/input_schema"),
        ({"allOf": [{}] * MAX_PARTS}, None),
        ({"description": "x" * 70_000}, "/input_schema"),
        ({"pattern": "(?=a)b"}, "/input_schema/pattern"),
        ({"pattern": r"(a)\1"}, "/input_schema/pattern"),
        ({"pattern": "(a{1000}){1000}"}, "/input_schema/pattern"),
        ({"patternProperties": {"(": True}}, "/input_schema/patternProperties"),
        ({"patternProperties": {f"a{n}": True for n in range(40)}}, None),
        ({"propertees": {}}, "/input_schema/propertees"),
        ({"format": "emial"}, "/input_schema/format"),
        ({"type": "strin"}, "/input_schema"),
        ({"required": "n"}, "/input_schema"),
        ({"properties": []}, "/input_schema"),
    ],
)
def test_a_schema_without_bounds_or_meaning_is_refused(schema: Any, pointer: str | None) -> None:
    """With where it is wrong; nothing of it is kept."""
    with pytest.raises(Invalid) as wrong:
        check_schema(schema)
    assert pointer is None or wrong.value.pointer == pointer
    assert (wrong.value.pointer or "").startswith("/input_schema")


def test_nothing_is_fetched() -> None:
    """An address is refused without being asked, wherever it stands."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema"
        for schema in ({"$ref": url}, {"$defs": {"a": {"$ref": url}}}, {"const": {"$ref": url}}):
            try:
                check_input("job@1", check_schema(schema), {"a": 1})
            except Invalid:
                continue
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_each_wrong_value_is_told_by_its_pointer() -> None:
    """In JSON pointers, with references followed and names escaped."""
    text = check_schema(
        {
            "type": "object",
            "properties": {"a/b": {"type": "array", "items": {"$ref": "#/$defs/item"}}},
            "$defs": {"item": {"type": "string", "format": "email"}},
            "required": ["n"],
        }
    )
    with pytest.raises(InputMismatch) as wrong:
        check_input("job@1", text, {"a/b": ["a@example.com", 1, "no"]})
    assert sorted(pointer for pointer, _ in wrong.value.errors) == [
        *("/input", "/input/a~1b/1", "/input/a~1b/2")
    ]
    check_input("job@1", text, {"a/b": ["a@example.com"], "n": None})


def test_errors_are_few_and_short() -> None:
    """However much is wrong, and however long it is."""
    text = check_schema({"items": {"type": "integer"}})
    with pytest.raises(InputMismatch) as wrong:
        check_input("job@1", text, ["x" * 10_000] * 1_000)
    assert len(wrong.value.errors) <= MAX_ERRORS
    assert all(len(detail) < 400 for _, detail in wrong.value.errors)
    with pytest.raises(InputMismatch) as first:
        check_input("job@1", text, ["x"] * 100_000)
    assert len(first.value.errors) == 1


def test_an_input_with_too_many_values_for_its_schema_is_refused() -> None:
    """Before it is checked: parts times values is the work of a check."""
    text = check_schema({"items": {"anyOf": [{"const": n} for n in range(900)]}})
    with pytest.raises(Invalid, match="the product may be at most") as wrong:
        check_input("job@1", text, [1] * (MAX_WORK // 900))
    assert wrong.value.pointer == "/input"


@pytest.mark.parametrize(
    ("schema", "few", "many"),
    [
        ({"enum": [{"a": 1}] * 2_000}, [{"a": 2}] * 50, [{"a": 2}] * 500),
        ({"enum": [0.5] * 2_000}, [1] * 70, [1] * 100),
        ({"enum": [1, 2, 3]}, [4] * 20_000, [1e-300] * 5_000),
        ({"const": 1e-300}, [1] * 8_000, [1e-300] * 200),
        ({"minimum": 0.1}, [0.5] * 20_000, [0.5] * 40_000),
        ({"uniqueItems": True}, [[1] * 9] * 10_000, [[0.5] * 9] * 5_000),
        ({"enum": ["a"] * 4_000}, ["b"] * 500_000, None),
        ({"type": "number"}, [0.5] * 500_000, None),
    ],
)
def test_values_count_by_what_they_cost(schema: Any, few: Any, many: Any) -> None:
    """Comparing fractions, and going through lists, is slow: no input makes much of it."""
    text = check_schema({"items": schema})
    assert is_bounded(text, few)
    assert many is None or not is_bounded(text, many)


def chain(word: str, levels: int, leaf: Any = 1) -> Any:
    """Make a value that stands in itself."""
    for _ in range(levels):
        leaf = {word: leaf}
    return leaf


def test_a_schema_may_lead_back_to_what_is_in_a_value() -> None:
    """As trees and expressions are written; what is wrong deep down has its pointer."""
    tree, listed = check_schema(TREE), check_schema({"properties": {"next": {"$ref": "#"}}})
    check_input("job@1", tree, {"value": 1, "children": [{"value": 2, "children": []}] * 500})
    check_input("job@1", listed, chain("next", MAX_LEVELS))
    with pytest.raises(InputMismatch) as wrong:
        check_input("job@1", tree, {"value": 1, "children": [{"value": 2}, {"value": "x"}]})
    assert [pointer for pointer, _ in wrong.value.errors] == ["/input/children/1/value"]


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ({"allOf": [{"properties": {"x": BACK}}] * 2}, chain("x", 40), "more than 50000 steps"),
        ({"anyOf": [{"properties": {"x": BACK}}] * 3}, chain("x", 12), "more than 50000 steps"),
        ({"patternProperties": {"a": BACK, "b": BACK}}, chain("ab", 40), "more than 50000 steps"),
        ({"items": BACK}, [1] * 200_000, "more than 50000 steps"),
        ({"items": BACK, "not": {"enum": [[0.5]] * 4_000}}, [1] * 9, "more than 50000 steps"),
        ({"properties": {"x": BACK}}, chain("x", MAX_LEVELS + 1), "more than 64 levels"),
    ],
)
def test_a_check_that_leads_back_too_often_is_not_begun(part: Any, value: Any, told: str) -> None:
    """Each level of a value may be looked at several times by the one above."""
    text = check_schema({"$defs": {"part": part}, **BACK})
    with pytest.raises(Invalid, match=told) as wrong:
        check_input("job@1", text, value)
    assert wrong.value.pointer == "/input"


def test_alternatives_count_again_for_those_above() -> None:
    """When none fits, each tells what was wrong with all below it."""
    text = check_schema(nested_choices(30))
    with pytest.raises(Invalid, match="the product may be at most"):
        check_input("job@1", text, [1] * 10_000)


@pytest.mark.parametrize(
    "schema", [True, {}, {"$schema": "https://json-schema.org/draft/2020-12/schema"}]
)
def test_what_allows_everything_is_a_schema(schema: Any) -> None:
    """As any other."""
    check_input("job@1", check_schema(schema), {"a": [1, None]})
