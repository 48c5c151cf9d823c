"""
Grants: which functions a run may call.

| text | grants |
|---|---|
| `mux.create_asset` | one function |
| `mux:read`, `mux:write` | the functions of one integration that read, or that write |
| `mux` | all of one integration |
| `*:read`, `*:write` | what reads, or what writes, of every integration |
| `*` | everything |

`write` does not include `read`: what is not named is not granted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

from core.calls import EffectClass
from core.errors import Invalid

MAX_GRANTS = 256
_GRANT = re.compile(
    r"(?P<integration>\*|[a-z][a-z0-9_]{0,63})"
    r"(?::(?P<effect_class>read|write)|\.(?P<function>[a-z][a-z0-9_]{0,63}))?"
)
_SHAPES = "`mux.create_asset`, `mux:read`, `mux:write`, `mux`, `*:read`, `*:write` or `*`"


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of a grant list; None in a part means any."""

    integration: str | None
    effect_class: EffectClass | None
    function: str | None

    def allows(self, integration: str, function: str, effect_class: EffectClass) -> bool:
        """Tell whether this grant covers one function."""
        return (
            self.integration in {None, integration}
            and self.function in {None, function}
            and self.effect_class in {None, effect_class}
        )

    def __str__(self) -> str:
        """Give the text that parses to this grant."""
        name = self.integration or "*"
        if self.function is not None:
            return f"{name}.{self.function}"
        return name if self.effect_class is None else f"{name}:{self.effect_class}"


@dataclass(frozen=True, slots=True)
class Grants:
    """What a run may call: the union of its lines. No lines, no calls."""

    lines: tuple[Grant, ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """
        Take grants from their texts; an empty list grants nothing.

        Raises:
            Invalid: a text is none of the shapes above, or there are more than `MAX_GRANTS`.
        """
        lines: list[Grant] = []
        for index, text in enumerate(texts):
            if index >= MAX_GRANTS:
                raise Invalid(f"more than {MAX_GRANTS} grants", pointer="/grants")
            lines.append(_parse_one(text, index))
        return cls(tuple(dict.fromkeys(lines)))

    @classmethod
    def everything(cls) -> Self:
        """Grant every function of every integration."""
        return cls((Grant(None, None, None),))

    def allows(self, integration: str, function: str, effect_class: EffectClass | str) -> bool:
        """
        Tell whether a function may be called.

        Raises:
            ValueError: `effect_class` is neither `read` nor `write`.
        """
        effect = EffectClass(effect_class)
        return any(line.allows(integration, function, effect) for line in self.lines)

    def to_json(self) -> list[str]:
        """Give the texts, in the order given, without repeats."""
        return [str(line) for line in self.lines]


def _parse_one(text: str, index: int) -> Grant:
    found = _GRANT.fullmatch(text) if isinstance(text, str) else None
    if found is None or (found["integration"] == "*" and found["function"]):
        raise Invalid(
            f"grant {_shown(text)} is not a grant; expected {_SHAPES}",
            pointer=f"/grants/{index}",
            hint=_nearest(text),
        )
    effect = found["effect_class"]
    integration = found["integration"]
    return Grant(
        integration=None if integration == "*" else integration,
        effect_class=None if effect is None else EffectClass(effect),
        function=found["function"],
    )


def _shown(text: object) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _nearest(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    name, colon, effect = text[:200].strip().lower().partition(":")
    if colon:
        near = get_close_matches(effect, [member.value for member in EffectClass], n=1)
        effect = near[0] if near else "read"
    candidate = f"{name}{colon}{effect}"
    if candidate != text and _GRANT.fullmatch(candidate) and not candidate.startswith("*."):
        return f"did you mean {candidate!r}?"
    return None
