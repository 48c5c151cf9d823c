"""The body of `POST /v1/runs`: checked name by name, so that an error says where and what."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from api.grant_shapes import AskedRules
from api.problems import MAX_ERRORS, FieldError, InvalidFields
from api.strict_json import parse, pointer_to
from core.errors import Invalid
from runs.accept import (
    MAX_NAME_CHARS,
    Checked,
    check_request,
    encode_input,
    encode_script,
    read_deadline,
)
from runs.model import OnUnknown, Priority, RunRequest
from runs.plans import MAX_KEY_CHARS, ApplyRequest
from sandbox.limits import KIB, SPECS, LimitOutOfRange, Limits, check_limit
from tenancy.grants import GrantSet

MAX_WAIT_S = 30
_IN_THREAD_BYTES = 64 * KIB
_MAX_NAMES = 64
# One thread: it takes turns with the event loop, and more of them would leave the loop fewer.
_LARGE_BODIES = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")

_OF_APPLY = frozenset({"plan", "plan_digest", "idempotency_key"})
_OF_PLAN = frozenset(
    {"limits", "grants", "force", "on_unknown", "seed", "name", "check", "callback"}
)  # what a plan has settled

LIMITS_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        name: {
            "type": "integer",
            "minimum": spec.minimum,
            "maximum": spec.maximum,
            "default": spec.default,
            "description": f"In {spec.unit}: {spec.meaning}.",
        }
        for name, spec in SPECS.items()
    },
}


class Submission(BaseModel):
    """A script to run, and what it may use."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    script: str = Field(
        default="",
        description="Lua 5.4 source text, at most 256 KiB in UTF-8; needed unless `mode` is "
        "`apply`, or `script_ref` is given.",
    )
    script_ref: str | None = Field(
        default=None,
        max_length=120,
        description="A saved script in place of `script`: `name`, `name@version` or `name@alias`. "
        "Its limits and grants hold where this submission has none, and its schema for `input`.",
    )
    input: Any = Field(default=None, description="Any JSON value; the script sees it as `input`.")
    limits: Annotated[dict[str, int], WithJsonSchema(LIMITS_SCHEMA)] = Field(
        default_factory=dict, description="Only what differs from the defaults."
    )
    grants: AskedRules = Field(
        default=None,
        description="What the script may call, such as `mux:read` or `ask:mux.create_asset`; an "
        "empty list allows nothing, null all that the tenant and the key may. It only takes away.",
    )
    force: bool = Field(
        default=False,
        description="Make calls without asking where a grant such as `ask:mux:write` would ask. "
        "The key needs the scope `runs:force`.",
    )
    on_unknown: OnUnknown = Field(
        default="fail",
        description="What becomes of a call of which nobody knows whether it was done: it ends the "
        "run as `effect_unknown`, or is an error of that code in the script.",
    )
    mode: Literal["run", "plan", "apply"] = Field(
        default="run",
        description="`plan`: reads are real, writes are only listed. `apply`: makes the writes of "
        "an approved plan, and no others; script, input, limits, grants and seed are the plan's.",
    )
    plan: str | None = Field(
        default=None, description="With `apply`: the id of the run whose plan it is."
    )
    plan_digest: str | None = Field(
        default=None, description="With `apply`: refuse a plan with another digest than this."
    )
    idempotency_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_KEY_CHARS,
        description="With `apply`: the same key again gives the run that it started; without one, "
        "a second request is refused with 409.",
    )
    seed: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="Of `math.random`; chosen when absent."
    )
    name: str = Field(
        default="script",
        min_length=1,
        max_length=MAX_NAME_CHARS,
        description="Shown in lists and in the script's error messages; printable characters.",
    )
    priority: Literal["high", "normal", "low"] = Field(
        default="normal",
        description="Which of the tenant's queued runs begin first; no other tenant's are passed.",
    )
    expires_at: str | None = Field(
        default=None,
        max_length=40,
        description="RFC 3339 time, at most a year away: a run that nobody has begun by then ends "
        "as `cancelled`, reason `expired`.",
    )
    callback: str | None = Field(
        default=None,
        max_length=2_200,
        description="Who is told of its end: the id of a callback endpoint, or an address if the "
        "tenant has an endpoint without one.",
    )
    wait_s: float = Field(
        default=0,
        ge=0,
        le=MAX_WAIT_S,
        description="Seconds to wait for the result before answering 202.",
    )
    check: bool = Field(
        default=False,
        description="Check the script first, without running it, and refuse it if anything in it "
        "is found wrong; `errors` then tells what and in which line.",
    )


class Taken(NamedTuple):
    """
    A submission that was read: `wait_s` is None when the body says nothing of it.

    It is a `RunRequest` when it names a saved script, which is still to be looked up.
    """

    checked: Checked | ApplyRequest | RunRequest
    wait_s: float | None
    check: bool


async def read_submission(body: bytes) -> Taken:
    """Check the body of a request as `take_submission` does, a large one beside the event loop."""
    if len(body) > _IN_THREAD_BYTES:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_LARGE_BODIES, take_submission, body)
    return take_submission(body)


def take_submission(body: bytes) -> Taken:
    """
    Parse and check a body.

    Raises:
        InvalidJson: it is not strict JSON.
        InvalidFields: values that are wrong, each with its pointer and the nearest known name.
        TooLarge: the script or the input has more bytes than its limit.
    """
    value = parse(body)
    if not isinstance(value, dict):
        raise Invalid("the body must be a JSON object", pointer="")
    check_widths(value)
    try:
        given = Submission.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise InvalidFields([_field_error(one) for one in found[:MAX_ERRORS]]) from None
    check_values(given)
    wait_s = given.wait_s if "wait_s" in given.model_fields_set else None
    if given.mode == "apply":
        return Taken(_apply_request(given), wait_s, given.check)
    # Not `model_dump`, which would copy the whole input.
    taken = RunRequest.model_fields.keys() & Submission.model_fields.keys()
    request = RunRequest(**{name: getattr(given, name) for name in taken})
    if request.script_ref is not None:
        return Taken(request, wait_s, given.check)
    return Taken(check_request(request), wait_s, given.check)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name nearest to `name`, if one is near."""
    near = get_close_matches(name[:80], list(known), n=1, cutoff=0.5)
    return near[0] if near else None


def _field_error(one: ErrorDetails) -> FieldError:
    path: Sequence[str | int] = one["loc"]
    pointer = pointer_to(*path)
    if one["type"] == "extra_forbidden":
        return FieldError(
            pointer=pointer,
            detail=f"there is no such name; known: {', '.join(Submission.model_fields)}",
            nearest=nearest(str(path[-1]), Submission.model_fields),
        )
    message = "it is missing" if one["type"] == "missing" else one["msg"].replace("Input", "it", 1)
    return FieldError(pointer=pointer, detail=message[:1].lower() + message[1:])


def check_widths(value: dict[str, Any]) -> None:
    """
    Refuse objects with more names than anybody needs.

    Raises:
        Invalid: with the pointer of the object.
    """
    # Each unknown name costs the search for the nearest one: a few are told, not thousands.
    for pointer, names in (("", value), ("/limits", value.get("limits"))):
        if isinstance(names, dict) and len(names) > _MAX_NAMES:
            raise Invalid(f"more than {_MAX_NAMES} names in one object", pointer=pointer)


def _check_mode(given: Submission) -> list[FieldError]:
    """Find what is missing, and what only another mode takes."""
    applies, said = given.mode == "apply", given.model_fields_set
    by_ref = given.script_ref is not None
    needed = "plan" if applies else "script"
    there = needed in said or (by_ref and not applies)
    wrong = [] if there else [FieldError(pointer=f"/{needed}", detail="it is missing")]
    if by_ref and (applies or "script" in said):
        why = "it is the plan's" if applies else "give `script` or `script_ref`, not both"
        wrong.append(FieldError(pointer="/script_ref", detail=why))
    odd = _OF_PLAN & said if applies else _OF_APPLY & said
    why = "it is the plan's" if applies else "only `mode` `apply` takes it"
    return wrong + [FieldError(pointer=f"/{name}", detail=why) for name in sorted(odd)]


def _apply_request(given: Submission) -> ApplyRequest:
    said, limits = given.model_fields_set, Limits()
    return ApplyRequest(
        run=given.plan or "",
        digest=given.plan_digest,
        key=given.idempotency_key or "",
        script=encode_script(given.script, limits) if "script" in said else None,
        input=encode_input(given.input, limits) if "input" in said else None,
        priority=Priority(given.priority),
        expires_ms=None if given.expires_at is None else read_deadline(given.expires_at),
    )


def check_values(given: Submission) -> None:
    """
    Check what pydantic did not, and what belongs together.

    Raises:
        InvalidFields: values that are wrong, each with its pointer.
    """
    wrong = _check_mode(given)
    if not given.name.isprintable():
        wrong.append(FieldError(pointer="/name", detail="it must be printable characters"))
    for name, value in given.limits.items():
        try:
            check_limit(name, value)
        except LimitOutOfRange as error:
            near = None if name in SPECS else nearest(name, SPECS)
            pointer = pointer_to("limits", name)
            wrong.append(FieldError(pointer=pointer, detail=str(error)[:500], nearest=near))
    try:
        GrantSet.parse(given.grants or [])
    except Invalid as error:
        detail = error.detail + (f"; {error.hint}" if error.hint else "")
        wrong.append(FieldError(pointer=error.pointer, detail=detail))
    if wrong:
        raise InvalidFields(wrong[:MAX_ERRORS])
