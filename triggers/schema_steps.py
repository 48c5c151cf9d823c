"""
How much a check of one value does by a schema that leads back into itself.

Runs in: api, scheduler, CLI. Trusts: a schema whose words and references were checked.
Refuses: nothing; whoever calls says how much is too much. May import: stdlib, triggers.

Such a schema has no size that says what a check costs: each level of the value may be looked at
several times by the level above. So the check is walked through beforehand, every branch of it,
until it ends or is too long. It is a bound: a check leaves branches out, and adds none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from triggers.schema_weights import weight_of_input, weight_of_part

#: When no alternative fits, it is told what was wrong with each: all below is gone through again.
CHOICES = frozenset(("anyOf", "oneOf"))
_SAME_EACH = CHOICES | {"allOf"}
_SAME = frozenset(("not", "if", "then", "else"))
_EACH_ITEM = frozenset(("items", "contains"))


def steps_of(document: Any, value: Any, most: int) -> int:
    """
    Count the parts of `document` that `value`, and what is in it, are held to, weighed.

    Of more than `most`, not all are counted.
    """
    steps, waiting = 1, [(document, value, 1)]
    while waiting and steps <= most:
        schema, one, times = waiting.pop()
        if not isinstance(schema, Mapping):
            continue
        said = sum(len(inner) for inner in schema.values() if isinstance(inner, dict | list))
        compared = weight_of_part(schema)
        if compared:
            said += compared * weight_of_input(one, most)
        steps += said * times
        for word, part, below in _below(document, schema, one):
            again = times + (word in CHOICES)
            steps += again
            if steps > most:
                break
            waiting.append((part, below, again))
    return steps


def target_of(document: Any, ref: str) -> Any:
    """
    Give what a reference within a document means.

    Raises:
        KeyError: there is nothing.
    """
    target = document
    for step in ref.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, Mapping):
            raise KeyError(key)
        target = target[key]
    return target


def _below(document: Any, schema: Mapping[str, Any], one: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give each part that a schema holds something to, with the word that it stands below."""
    for word, said in schema.items():
        if word == "$ref":
            yield word, target_of(document, said), one
        for part, below in _of_word(word, said, one):
            yield word, part, below


def _of_word(word: str, said: Any, one: Any) -> Iterator[tuple[Any, Any]]:
    if word in _SAME:
        yield said, one
    elif word in _SAME_EACH:
        yield from ((part, one) for part in said)
    elif word == "dependentSchemas":
        yield from ((part, one) for part in said.values())
    elif isinstance(one, dict):
        yield from _in_object(word, said, one)
    elif isinstance(one, list):
        if word in _EACH_ITEM:
            yield from ((said, item) for item in one)
        elif word == "prefixItems":
            yield from zip(said, one, strict=False)


def _in_object(word: str, said: Any, one: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    if word == "properties":
        yield from ((part, one[name]) for name, part in said.items() if name in one)
    elif word == "patternProperties":
        yield from ((part, item) for part in said.values() for item in one.values())
    elif word == "additionalProperties":
        yield from ((said, item) for item in one.values())
    elif word == "propertyNames":
        yield from ((said, name) for name in one)
