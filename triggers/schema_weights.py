"""
What a check of a value costs: weights for the parts of a schema and the values of an input.

Runs in: api, scheduler, CLI. Trusts: a schema whose words were checked. Refuses: nothing.
May import: stdlib.

A unit is what the type of a value costs, a quarter of a microsecond with all around it. The library
compares fractions digit by digit, a hundred times as slowly as whole numbers, those next to zero a
thousand times; it goes through an `enum` entry by entry unless all are texts; and `uniqueItems`
compares the values of short lists with each other. Who writes the schema, and who the input, would
otherwise hold up a whole API process for minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BOUNDS = frozenset(
    ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
)
_COMPARED = 2
_FRACTION = 12
_UNIQUE = 10
_FRACTION_IN_INPUT = 6
#: A fraction so near to zero has so many digits that it counts as twenty.
_TINY = 1e-30
_TINY_TIMES = 20


def weight_of_part(schema: Mapping[str, Any]) -> int:
    """Give what the words of one schema cost beside those below them; 0: next to nothing."""
    weight = 0
    for word, said in schema.items():
        if word == "const" and _is_compared(said):
            weight += _weight(said)
        elif word == "enum" and isinstance(said, list):
            weight += 0 if all(isinstance(one, str) for one in said) else _weight(said)
        elif word in _BOUNDS and isinstance(said, float):
            weight += _weight(said)
        elif word == "uniqueItems" and said is True:
            weight += _UNIQUE
    return weight


def weight_of_input(value: Any, most: int) -> int:
    """Count the values in an input, its fractions several times; stop soon after `most`."""
    weight = 0
    waiting = [value]
    while waiting and weight <= most:
        one = waiting.pop()
        weight += 1
        if isinstance(one, float):
            weight += _times(one) * _FRACTION_IN_INPUT
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return weight


def _is_compared(said: Any) -> bool:
    return isinstance(said, int | float | list | dict) and not isinstance(said, bool)


def _weight(said: Any) -> int:
    """Give what comparing with a value of the schema costs, all that is inside included."""
    weight = 0
    waiting = [said]
    while waiting:
        one = waiting.pop()
        weight += _FRACTION * _times(one) if isinstance(one, float) else _COMPARED
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return weight


def _times(fraction: float) -> int:
    return _TINY_TIMES if 0 < abs(fraction) < _TINY else 1
