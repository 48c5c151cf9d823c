"""
A plan: the writes that a run would make, in order, and the digest that an approval binds.

What is planned is answered with made-up values. Where a later write uses one, `references` says
which write really gives it, so that whoever approves sees it, and whoever applies can put the real
value in its place.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field

from core.errors import Conflict

VERSION = 1


class Mode(StrEnum):
    """How a run makes its writes: at once, only on paper, or as an approved plan lists them."""

    RUN = "run"
    PLAN = "plan"
    APPLY = "apply"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Strict):
    """Where a made-up value comes from: the reply of write `write`, at a JSON pointer."""

    write: int = Field(alias="from", ge=1)
    path: str

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class PlannedWrite(_Strict):
    """
    One write of a plan. `n` counts from 1.

    `arguments` are those that would be sent, by their names; values at the JSON pointers of
    `redacted` are not shown, and held by `arguments_sha256` alone: the digest of the canonical text
    of all arguments, made-up values included. `references` has the made-up values that occur in
    them. `asks` tells that a grant wants an approval for it: that of the plan is one.
    """

    n: int = Field(ge=1)
    name: str
    account: str | None
    arguments: dict[str, Any]
    arguments_sha256: str
    redacted: list[str] = Field(default_factory=list)
    references: dict[str, Origin] = Field(default_factory=dict)
    asks: bool = False


class PlanTerms(_Strict):
    """What a plan was made of. Only a run of the same may be held to it."""

    script_sha256: str
    input_sha256: str
    seed: int
    limits: dict[str, int]
    grants: list[str | dict[str, Any]] | None
    force: bool
    on_unknown: str

    def check(self, other: PlanTerms) -> None:
        """
        See that `other` is the same.

        Raises:
            Conflict: it is not; the message says in what.
        """
        mine, others = self.model_dump(), other.model_dump()
        differing = [name.removesuffix("_sha256") for name in mine if mine[name] != others[name]]
        if differing:
            raise Conflict(
                f"the plan was made of another {', '.join(differing)}; nothing was run",
                hint="apply it with what it was made of, or make a new plan",
            )


class Plan(_Strict):
    """A whole plan. `digest` is the SHA-256 of the canonical text of everything else in it."""

    v: int = VERSION
    terms: PlanTerms
    writes: list[PlannedWrite]
    digest: str

    @classmethod
    def of(cls, terms: PlanTerms, writes: list[PlannedWrite]) -> Self:
        """Make a plan of its parts."""
        plan = cls(terms=terms, writes=writes, digest="")
        return plan.model_copy(update={"digest": plan.computed()})

    @classmethod
    def read(cls, text: bytes) -> Self:
        """
        Read a plan that was kept.

        Raises:
            Conflict: it is none, or was changed since: it is not what its digest says.
        """
        try:
            plan = cls.model_validate_json(text)
        except ValueError:
            raise Conflict("this is no plan of this version") from None
        if plan.v != VERSION or plan.digest != plan.computed():
            raise Conflict(
                "the plan is not what its digest says: it was changed after it was made",
                hint="make a new plan",
            )
        return plan

    def computed(self) -> str:
        """Compute the digest."""
        whole = self.model_dump(mode="json", by_alias=True)
        del whole["digest"]
        return sha256_of(whole)

    def text(self) -> bytes:
        """Give it as JSON text."""
        return orjson.dumps(self.model_dump(mode="json", by_alias=True))


def canonical(value: Any) -> bytes:
    """Give the one JSON text of a value: names sorted, no spaces."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sha256_of(value: Any) -> str:
    """Give the SHA-256 of a value's canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()
