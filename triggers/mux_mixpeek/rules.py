"""
Metadata filters and file filters as they are given: what could not be evaluated is refused here.

Runs in: api. Trusts: nothing. Refuses: unknown operators, rules without a field, values that the
operator cannot compare. May import: stdlib, pydantic.

They are evaluated by the scripts (`filters.lua`), run by run, never here.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_RULES = 50
_MAX_FIELD_CHARS = 200
_MAX_VALUE_CHARS = 1_000
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


class Operator(StrEnum):
    """
    What a rule asks of a field of an asset.

    | operator | holds when the field |
    |---|---|
    | `equals`, `not_equals` | is, or is not, the value; no type is taken for another |
    | `contains`, `not_contains` | has, or has not, the value as part of a text, entry of a list |
    | `gt`, `lt`, `gte`, `lte` | is a number, or a text that is one, beyond the value |
    | `exists` | is there and not empty; with the value false: is not |
    """

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    GT = "gt"
    LT = "lt"
    GTE = "gte"
    LTE = "lte"
    EXISTS = "exists"


_COMPARING = frozenset({Operator.GT, Operator.LT, Operator.GTE, Operator.LTE})


class MetadataFilter(BaseModel):
    """One rule. `field` is a key of the asset, with dots for what is inside."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    field: str = Field(min_length=1, max_length=_MAX_FIELD_CHARS)
    operator: Operator = Field(strict=False)
    value: Any = None

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if problem := _problem(self.operator, self.value, given="value" in self.model_fields_set):
            raise ValueError(problem)
        return self


class FileFilters(BaseModel):
    """What is synced; all conditions must hold. Sizes are bytes of the file that is downloaded."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    metadata_filters: list[MetadataFilter] = Field(default_factory=list, max_length=MAX_RULES)
    min_size_bytes: int | None = Field(default=None, ge=0)
    max_size_bytes: int | None = Field(default=None, ge=0)
    min_size: int | None = Field(default=None, ge=0, description="As `min_size_bytes`.")
    max_size: int | None = Field(default=None, ge=0, description="As `max_size_bytes`.")

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        for name in ("min_size", "max_size"):
            if None not in {getattr(self, name), getattr(self, f"{name}_bytes")}:
                raise ValueError(f"give {name} or {name}_bytes, not both")
        return self

    def for_script(self) -> dict[str, Any]:
        """Give them as the scripts read them."""
        least = self.min_size if self.min_size_bytes is None else self.min_size_bytes
        most = self.max_size if self.max_size_bytes is None else self.max_size_bytes
        rules = [one.model_dump(mode="json", exclude_unset=True) for one in self.metadata_filters]
        return {"metadata_filters": rules, "min_size_bytes": least, "max_size_bytes": most}


def _problem(operator: Operator, value: Any, *, given: bool) -> str | None:
    if operator is Operator.EXISTS:
        wrong = given and value not in ("true", "false") and not isinstance(value, bool)
        return "the value of exists must be true or false, or left out" if wrong else None
    if not given:
        return "value: it is missing"
    if not isinstance(value, str | int | float | bool):
        return "value: it must be text, a number, true or false"
    if isinstance(value, str) and len(value) > _MAX_VALUE_CHARS:
        return f"value: it has more than {_MAX_VALUE_CHARS} characters"
    if operator in _COMPARING and not _is_number(value):
        return f"value: {operator.value} compares numbers, and this is none"
    return None


def _is_number(value: str | float) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None and math.isfinite(float(value))
    return math.isfinite(value)
