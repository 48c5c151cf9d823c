"""
What a batch and its items say: checked name by name, as submissions are.

Runs in: api. Trusts: nobody. Refuses: names that there are not, values out of range, items that
their batch has no script for. May import: stdlib, pydantic, core, runs, sandbox, api.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, create_model
from pydantic_core import ErrorDetails

from api.problems import MAX_ERRORS, FieldError, InvalidFields
from api.strict_json import pointer_to
from api.submission import LIMITS_SCHEMA, Submission, check_values, check_widths, nearest
from core.errors import Invalid
from runs.accept import MAX_NAME_CHARS, check_limits, encode_input, encode_script
from runs.batches.model import (
    DEFAULT_CONCURRENCY,
    MAX_CONCURRENCY,
    MAX_ITEM_ID_CHARS,
    MAX_ITEMS,
    BatchRequest,
    Item,
    ItemTerms,
)
from runs.ceilings import check_ceilings
from runs.model import RunRequest
from sandbox.limits import Limits
from triggers.input_schema import check_input

#: Of a submission, what does not hold for all runs of a batch, or is the batch's own affair.
_NOT_SHARED = frozenset(
    {"input", "plan", "plan_digest", "idempotency_key", "wait_s", "check", "mode", "callback"}
)
_SHARED: dict[str, Any] = {
    name: (info.annotation, info)
    for name, info in Submission.model_fields.items()
    if name not in _NOT_SHARED
}


class BatchItem(BaseModel):
    """One item: an input for the batch's script, or a script of its own."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_ITEM_ID_CHARS,
        description="Your own name for it, once in a batch; it comes back in the results.",
    )
    script: str | None = Field(default=None, description="Lua source text, instead of the batch's.")
    input: Any = Field(default=None, description="Any JSON value; the script sees it as `input`.")
    limits: Annotated[dict[str, int], WithJsonSchema(LIMITS_SCHEMA)] = Field(
        default_factory=dict, description="Only what differs from the batch's."
    )
    seed: int | None = Field(default=None, ge=0, le=2**63 - 1)
    name: str | None = Field(default=None, min_length=1, max_length=MAX_NAME_CHARS)


class _OwnTerms(BaseModel):
    """What only a batch has."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    mode: Literal["run", "plan"] = Field(
        default="run", description="`plan`: reads are real, writes are only listed."
    )
    concurrency: int = Field(
        default=DEFAULT_CONCURRENCY,
        ge=1,
        le=MAX_CONCURRENCY,
        description="How many of its runs are queued, running or waiting at once.",
    )
    callback: str | None = Field(
        default=None,
        max_length=2_200,
        description="Who is told when the batch ends: the id of a callback endpoint, or an address "
        "if the tenant has an endpoint without one.",
    )
    stop_after: int | None = Field(
        default=None,
        ge=1,
        le=MAX_ITEMS,
        description="After so many failures nothing more is started and what is queued is "
        "cancelled; null goes on whatever fails.",
    )
    count: int | None = Field(
        default=None,
        ge=1,
        le=MAX_ITEMS,
        description="How many items there will be: with another number it does not start.",
    )


BatchTerms: type[Any] = create_model(
    "BatchTerms",
    __base__=_OwnTerms,
    __doc__="What all runs of a batch have in common, and how they are started.",
    **_SHARED,
)
BatchSubmission: type[Any] = create_model(
    "BatchSubmission",
    __base__=BatchTerms,
    __doc__="A batch; without `items` it is left open, to be filled by "
    "`POST /v1/batches/{id}/items`.",
    items=(list[BatchItem] | None, Field(default=None, max_length=MAX_ITEMS)),
)


def take_terms(value: Any, pointer: str = "") -> BatchRequest:
    """
    Check what a batch is to be; `script_ref` is left to be looked up.

    Raises:
        InvalidFields: values that are wrong, each with its pointer and the nearest known name.
    """
    if not isinstance(value, dict):
        raise Invalid("it must be a JSON object", pointer=pointer)
    try:
        check_widths(value)
        given = BatchTerms.model_validate(value)
    except ValidationError as error:
        known = [*BatchTerms.model_fields, "items"]
        raise _wrong(error, known, pointer) from None
    named = {name for name in _SHARED if name in given.model_fields_set}
    # A submission must have a script; a batch need not.
    as_submission = {name: getattr(given, name) for name in named} | {"mode": given.mode}
    if given.script_ref is None:
        as_submission.setdefault("script", "")
    try:
        check_values(Submission.model_construct(as_submission.keys() - {"mode"}, **as_submission))
    except InvalidFields as error:
        raise InvalidFields([_below(pointer, one) for one in error.errors]) from None
    shared = RunRequest.model_fields.keys() & _SHARED.keys()
    run = RunRequest(**{name: getattr(given, name) for name in shared}, mode=given.mode)
    return BatchRequest(run, given.concurrency, given.stop_after or 0, given.count, given.callback)


@dataclass(slots=True)
class ItemChecks:
    """Checks the items of one batch. `schema` is the JSON Schema that their inputs are held to."""

    terms: ItemTerms
    schema: str | None = None
    _limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        self._limits = Limits.from_json(self.terms.limits)

    def check(self, value: Any) -> Item:
        """
        Check one item that was parsed.

        Raises:
            Invalid: with the pointer of the value that is wrong. TooLarge: its script or input.
        """
        if not isinstance(value, dict):
            raise Invalid("an item must be a JSON object", pointer="")
        try:
            given = BatchItem.model_validate(value)
        except ValidationError as error:
            check_widths(value)
            raise _wrong(error, list(BatchItem.model_fields), "") from None
        for name in ("id", "name"):
            text = getattr(given, name)
            if text is not None and not text.isprintable():
                raise Invalid("it must be printable characters", pointer=f"/{name}")
        limits = self._limits
        if given.limits:
            limits = check_limits({**self.terms.limits, **given.limits})
            check_ceilings(given.limits, self.terms.ceilings)
        script = None if given.script is None else encode_script(given.script, limits)
        if script is None and not self.terms.has_script:
            raise Invalid("the batch has no script, so each item needs one", pointer="/script")
        text = encode_input(given.input, limits)
        if self.schema is not None and script is None:
            check_input(self.terms.script_ref or "", self.schema, given.input)
        return Item(text, given.id, script, given.limits or None, given.seed, given.name)


def _below(pointer: str, one: FieldError) -> FieldError:
    return one.model_copy(update={"pointer": pointer + (one.pointer or "")})


def _wrong(error: ValidationError, known: list[str], pointer: str) -> InvalidFields:
    found = error.errors(include_url=False, include_input=False)[:MAX_ERRORS]
    return InvalidFields([*map(partial(_field_error, known, pointer), found)])


def _field_error(known: list[str], before: str, one: ErrorDetails) -> FieldError:
    pointer = before + pointer_to(*one["loc"])[:200]
    if one["type"] == "extra_forbidden":
        near = nearest(str(one["loc"][-1]), known)
        detail = f"there is no such name; known: {', '.join(known)}"
        return FieldError(pointer=pointer, detail=detail, nearest=near)
    detail = one["msg"].replace("Input", "it", 1)
    return FieldError(pointer=pointer, detail=detail[:1].lower() + detail[1:])
