"""
Executes a run again over its tape, in the jail, with nothing outside: no vendor, Redis or account.

Runs in: CLI. Trusts: the supervisor's verdict; of a bundle only what was checked, and shapes only
here. Refuses: a bundle with which no run can be executed. May import: integrations, ledger, sandbox
(never sandbox.child).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from core.calls import Effect
from core.errors import Invalid, TooLarge
from integrations.replayed import REPRODUCIBLE, Departure, Replayed
from ledger.recording import Recording, TapeUnreadable
from runs.accept import MAX_NAME_CHARS
from sandbox.calls import StartRequest
from sandbox.limits import SPECS, LimitOutOfRange, Limits
from sandbox.outcome import Outcome, Reason
from sandbox.surface import Surface

if TYPE_CHECKING:
    from ledger.bundle_check import Checked
    from sandbox.calls import Call
    from sandbox.supervisor import Sandbox

_MOST = 1 << 63
#: Processor time differs from host to host, and no reply is waited for: other bounds than before.
_CPU_TIMES = 4
_WALL_MORE_MS = 5_000


@dataclass(frozen=True, slots=True)
class Terms:
    """
    All that a recorded run was given, and how it ended.

    `error` is its error object; `clock_ms` when its script's clock started, Unix milliseconds.
    """

    script: bytes
    input: bytes
    surface: Surface
    limits: Limits
    seed: int
    name: str
    clock_ms: int
    raises: bool
    reason: Reason
    error: Mapping[str, Any] | None
    instructions: int
    versions: Mapping[str, Any]

    @property
    def reproducible(self) -> bool:
        """Tell whether the run ended in a way that has to come again."""
        return self.reason in REPRODUCIBLE


@dataclass(frozen=True, slots=True)
class Replay:
    """How one execution over the tape went. `kept` is the call that was asked for."""

    outcome: Outcome
    departure: Departure | None
    at_end_of_tape: bool
    kept: Call | None


def read_terms(checked: Checked) -> Terms:
    """
    Read from a bundle what its run was given.

    Raises:
        Invalid: something is missing or malformed, or the run was never begun.
    """
    texts, accepted, finished = checked.bundle.texts, checked.accepted, checked.finished
    recording = read_recording(checked)
    if recording.clock_ms is None:
        raise Invalid("this run was never begun; there is nothing to replay")
    for name in ("script", "input"):
        if name not in texts:
            raise Invalid(f"the {name} of this run is not in the bundle; it was deleted")
    try:
        limits = Limits.from_json(accepted["limits"])
        usage = finished.get("usage") or {}
        terms = Terms(
            script=texts["script"],
            input=texts["input"],
            surface=_surface(texts.get("surface"), recording),
            limits=limits,
            seed=_number(accepted["seed"]),
            name=_name(accepted.get("name", "script")),
            clock_ms=_number(recording.clock_ms),
            raises=accepted.get("on_unknown") == "raise",
            reason=Reason(finished["reason"]),
            error=_error(finished.get("error")),
            instructions=_number(usage.get("instructions", 0)),
            versions=_versions(finished.get("versions")),
        )
        _check_texts(terms)
    except (KeyError, TypeError, ValueError, AttributeError, LimitOutOfRange) as wrong:
        raise Invalid(
            f"the tape in the bundle does not say what the run was given ({wrong})"
        ) from None
    return terms


def read_recording(checked: Checked) -> Recording:
    """
    Read the calls of a bundle; each execution uses one recording up.

    Raises:
        Invalid: the entries are no tape.
    """
    try:
        recording = Recording.of(checked.entries)
        for call in recording.calls.values():
            _check_call(call)
    except (TapeUnreadable, KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise Invalid(f"the tape in the bundle cannot be read ({wrong})") from None
    return recording


async def replay(
    terms: Terms,
    recording: Recording,
    sandbox: Sandbox,
    *,
    script: bytes | None = None,
    keep: int | None = None,
) -> Replay:
    """
    Execute a run over its tape, or with another `script`; keep the call number `keep`.

    Raises:
        TooLarge, Invalid: the other script has too many bytes or none.
        SandboxUnavailable: no jailed process can be had.
    """
    if script is not None:
        _check_script(script, terms.limits)
    answers = Replayed(
        recording, raises=terms.raises, ended=terms.reason, other=script is not None, keep=keep
    )
    request = StartRequest(
        script=terms.script if script is None else script,
        input=terms.input,
        limits=_bounds(terms),
        seed=terms.seed,
        clock_ms=terms.clock_ms,
        surface=terms.surface,
        name=terms.name,
    )
    outcome = await sandbox.run(request, answers.call)
    departure = answers.departure(outcome.reason)
    return Replay(outcome, departure, answers.at_end_of_tape, answers.kept)


def _bounds(terms: Terms) -> Limits:
    cpu_ms = terms.limits.cpu_ms
    if terms.reason is not Reason.CPU_LIMIT:
        cpu_ms = min(_CPU_TIMES * cpu_ms, SPECS["cpu_ms"].maximum)
    return replace(terms.limits, cpu_ms=cpu_ms, wall_ms=cpu_ms + _WALL_MORE_MS)


def _check_script(script: bytes, limits: Limits) -> None:
    if not script:
        raise Invalid("the script is empty")
    if len(script) > limits.script_bytes:
        raise TooLarge(
            f"the script has {len(script)} bytes; at most {limits.script_bytes} are allowed"
        )
    try:
        script.decode()
    except UnicodeDecodeError:
        raise Invalid("the script is not UTF-8") from None


def _check_texts(terms: Terms) -> None:
    if len(terms.script) > terms.limits.script_bytes or len(terms.input) > terms.limits.input_bytes:
        raise ValueError("script or input is larger than the limits of the run")
    orjson.loads(terms.input)


def _check_call(call: Any) -> None:
    asked = call.asked
    if not (isinstance(asked[0], str) and isinstance(asked[2], str)):
        raise TypeError(f"call {call.seq!s:.20} names no function")
    if type(call.seq) is not int or not isinstance(call.arguments_sha256, str):
        raise TypeError("a call has no number")
    reply = call.reply
    if reply is None:
        return
    _number(reply.clock_ms)
    if not isinstance(reply.ok, bool) or not isinstance(reply.body, str):
        raise TypeError(f"the reply to call {call.seq} is none")
    if reply.effect is Effect.UNKNOWN and not isinstance(orjson.loads(reply.body), dict):
        raise TypeError(f"the reply to call {call.seq} is no error")


def _surface(text: bytes | None, recording: Recording) -> Surface:
    if text is None:
        if recording.surface_sha256 is not None:
            raise ValueError("what the script saw of the integrations was deleted")
        return Surface()
    surface = Surface.read(text)
    for name, seen in surface.items():
        if not all(isinstance(one, str) for one in (name, *seen.functions, *seen.accounts)):
            raise TypeError("what the script saw of the integrations is malformed")
    return surface


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise ValueError("a number is out of its range")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME_CHARS:
        raise ValueError("the name of the script is none")
    return value


def _error(value: Any) -> Mapping[str, Any] | None:
    if value is None:
        return None
    return {name: value.get(name) for name in ("message", "line", "hint")}


def _versions(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def digest(data: bytes) -> str:
    """Give the sha-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()
