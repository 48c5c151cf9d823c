"""Checking a request before anything is stored: what is wrong is said with where it is wrong."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from core.errors import Broken, Invalid, TooLarge
from core.plans import Mode, Plan
from runs.model import OnUnknown, Priority, RunRequest
from runs.origin import Origin
from sandbox.limits import LimitOutOfRange, Limits, check_limit
from tenancy.grants import GrantSet

MAX_NAME_CHARS = 128
_MAX_DEADLINE_S = 366 * 86_400


@dataclass(frozen=True, slots=True)
class Approved:
    """A plan to be applied: the run that made it, and the key by which its client knows it."""

    run: str
    plan: Plan
    key: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """
    A request that can be run: script and input as UTF-8 bytes, every choice made.

    `origin` says what started it when it was no plain submission; `script_ref` is the saved script
    that `script` is the text of, `name@version`. `expires_ms`, Unix milliseconds, is the
    time before which it must begin. `callback` is who is told of its end. `asked` names the limits
    that the client asked for, which no default stands in for. `maker_grants` are what the key had
    that made what started it, when it did; None: that key had no rules, or none made it.
    """

    script: bytes
    input: bytes
    limits: Limits
    grants: list[str | dict[str, Any]] | None
    force: bool
    on_unknown: OnUnknown
    seed: int
    name: str
    mode: Mode = Mode.RUN
    approved: Approved | None = None
    origin: Origin | None = None
    script_ref: str | None = None
    priority: Priority = Priority.NORMAL
    expires_ms: int | None = None
    callback: str | None = None
    asked: frozenset[str] = frozenset()
    maker_grants: list[str | dict[str, Any]] | None = None


def check_request(request: RunRequest) -> Checked:
    """
    Check what a client asks for and fill in what it left open.

    Raises:
        Invalid: with the JSON pointer of the value that is wrong.
        TooLarge: the script or the input has more bytes than allowed.
    """
    if request.script_ref is not None:
        raise Broken("a saved script is looked up before its request is checked")
    if request.mode is Mode.APPLY:
        raise Invalid("a plan is applied by the run that made it", pointer="/mode")
    limits = check_limits(request.limits)
    _check_name(request.name)
    return Checked(
        script=encode_script(request.script, limits),
        input=encode_input(request.input, limits),
        limits=limits,
        grants=None if request.grants is None else GrantSet.parse(request.grants).to_json(),
        force=request.force,
        on_unknown=request.on_unknown,
        seed=secrets.randbits(63) if request.seed is None else request.seed,
        name=request.name,
        mode=request.mode,
        priority=request.priority,
        expires_ms=None if request.expires_at is None else read_deadline(request.expires_at),
        callback=request.callback,
        asked=frozenset(request.limits),
    )


def read_deadline(text: str) -> int:
    """
    Give the Unix millisecond of an RFC 3339 time until which a run may begin.

    Raises:
        Invalid: it is no such time, has no offset from UTC, is past, or more than a year away.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in text.upper():
        detail = "it must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"
        raise Invalid(detail, pointer="/expires_at")
    left_s = moment.timestamp() - time.time()
    if not 0 < left_s <= _MAX_DEADLINE_S:
        wrong = "is past already" if left_s <= 0 else "is more than a year away"
        raise Invalid(f"it {wrong}", pointer="/expires_at")
    return int(moment.timestamp() * 1000)


def check_limits(given: dict[str, int]) -> Limits:
    """
    Give the limits that a request has; those it does not name have their defaults.

    Raises:
        Invalid: one is unknown or out of its range, with its pointer.
    """
    for name, value in given.items():
        try:
            check_limit(name, value)
        except LimitOutOfRange as wrong:
            raise Invalid(str(wrong), pointer=f"/limits/{_pointer_part(name)}") from None
    return Limits.from_json(given)


def _pointer_part(name: str) -> str:
    return name[:64].replace("~", "~0").replace("/", "~1")


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise Invalid(f"name must be 1 to {MAX_NAME_CHARS} printable characters", pointer="/name")


def encode_script(text: str, limits: Limits) -> bytes:
    """
    Give a script's bytes.

    Raises:
        Invalid: it is empty, or no text. TooLarge: it has more bytes than allowed.
    """
    try:
        script = text.encode()
    except UnicodeEncodeError as wrong:
        raise Invalid(
            f"the script is not valid Unicode: lone surrogate at character {wrong.start}",
            pointer="/script",
        ) from None
    if not script:
        raise Invalid("the script is empty", pointer="/script")
    if len(script) > limits.script_bytes:
        raise TooLarge(
            f"the script has {len(script)} bytes; at most {limits.script_bytes} are allowed"
        )
    return script


def encode_input(value: Any, limits: Limits) -> bytes:
    """
    Give the JSON text of an input, as it is kept.

    Raises:
        Invalid: it is no JSON value. TooLarge: it has more bytes than allowed.
    """
    _check_value(value, limits.depth)
    try:
        text = orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError) as wrong:
        raise Invalid(f"the input cannot be JSON: {wrong}", pointer="/input") from None
    if len(text) > limits.input_bytes:
        raise TooLarge(
            f"the input has {len(text)} bytes as JSON; at most {limits.input_bytes} are allowed"
        )
    return text


def _check_value(value: Any, max_depth: int) -> None:
    # One level at a time, without recursion: the value is as deep as its sender likes.
    level: list[Any] = [value]
    depth = 0
    while level:
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
            elif isinstance(one, float) and not math.isfinite(one):
                raise Invalid(f"the input holds {one}, which JSON cannot", pointer="/input")
        depth += any(isinstance(one, dict | list) for one in level)
        if depth > max_depth:
            raise Invalid(
                f"the input is nested more than {max_depth} levels deep", pointer="/input"
            )
        level = below
