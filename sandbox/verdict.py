"""
How a dead child's end is judged: what the supervisor saw, before what the child said.

Runs in: supervisor. Trusts: exit statuses and its own kills. Refuses: a claim that the facts
contradict. May import: stdlib.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from sandbox.limits import SPECS, Limits
from sandbox.outcome import Fault, Reason
from sandbox.session import Claim

#: Exit code by which the child's own Python says that it ran out of address space.
EXIT_NO_MEMORY = 77

_WORDS = {
    Reason.INSTRUCTION_LIMIT: ("instruction", "instructions", "Do less, or split the work."),
    Reason.CPU_LIMIT: ("CPU time", "cpu_ms", "Look for a pattern or loop that works too hard."),
    Reason.WALL_LIMIT: ("wall time", "wall_ms", "Make fewer or faster calls, or raise wall_ms."),
    Reason.MEMORY_LIMIT: ("memory", "memory_bytes", "Keep less in memory at once."),
    Reason.OUTPUT_LIMIT: ("output", "output_bytes", "Print less; return data as the result."),
    Reason.CALL_LIMIT: ("call", "calls", "Make fewer calls, or raise calls."),
    Reason.RESULT_LIMIT: ("result", "result_bytes", "Return less."),
}


@dataclass(frozen=True, slots=True)
class Kill:
    """Why the supervisor killed a child; set before the kill."""

    reason: Reason
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What the kernel told of a child's end.

    `status` is a wait status, None when the zygote died first; `partial`: it stopped inside a
    frame; `calls`: how many it had made.
    """

    status: int | None
    cpu_ms: int
    partial: bool
    calls: int


def limit_passed(reason: Reason, used: int, allowed: int, *, layer: str) -> Kill:
    """Say that a limit was passed: which, how much was used and allowed, and which layer saw it."""
    name, field, hint = _WORDS[reason]
    unit = SPECS[field].unit
    said = f"{name} limit reached: used {used} of {allowed} allowed {unit} (layer: {layer})"
    return Kill(reason, said, hint)


def judge(
    limits: Limits, kill: Kill | None, seen: Seen, claim: Claim | None
) -> tuple[Reason, bytes, Fault | None]:
    """Give the reason, the result and the error of a run whose child is dead."""
    verdict = kill or _by_exit(limits, seen)
    if verdict is None and claim is None:
        where = "in the middle of a frame" if seen.partial else "without a result"
        verdict = Kill(Reason.CRASHED, f"the child ended {where}")
    if verdict is not None:
        hint = _join(verdict.hint, _calls_made(seen.calls))
        return verdict.reason, b"null", Fault(verdict.message, hint=hint)
    assert claim is not None  # noqa: S101 (both None was handled above)
    if claim.reason is Reason.OK:
        return Reason.OK, claim.result, None
    fault = claim.fault or Fault(f"the child ended with {claim.reason}")
    return (
        claim.reason,
        b"null",
        Fault(fault.message, fault.line, _join(fault.hint, _calls_made(seen.calls))),
    )


def _by_exit(limits: Limits, seen: Seen) -> Kill | None:
    if seen.status is None:
        return Kill(Reason.CRASHED, "the zygote died, and the child with it")
    code = os.waitstatus_to_exitcode(seen.status)
    if code == EXIT_NO_MEMORY:
        said = f"memory limit reached: the child's address space is full (allowed Lua heap: {limits.memory_bytes} bytes; layer: address-space rlimit)"  # noqa: E501
        return Kill(Reason.MEMORY_LIMIT, said, _WORDS[Reason.MEMORY_LIMIT][2])
    if code >= 0:
        return None if code == 0 else Kill(Reason.CRASHED, f"the child exited with code {code}")
    return _by_signal(limits, seen, -code)


def _by_signal(limits: Limits, seen: Seen, number: int) -> Kill:
    timers: dict[int, str] = {
        signal.SIGPROF: "child's CPU timer",
        signal.SIGXCPU: "CPU rlimit",
    }
    if number in timers:
        used = max(seen.cpu_ms, limits.cpu_ms)
        return limit_passed(Reason.CPU_LIMIT, used, limits.cpu_ms, layer=timers[number])
    if number == signal.SIGKILL and seen.cpu_ms >= limits.cpu_ms:
        return limit_passed(Reason.CPU_LIMIT, seen.cpu_ms, limits.cpu_ms, layer="CPU rlimit")
    if number == signal.SIGSYS:
        return Kill(Reason.CRASHED, "the child made a system call that the jail refuses (SIGSYS)")
    if number == signal.SIGKILL:
        return Kill(
            Reason.CRASHED, "the child was killed from outside (SIGKILL), perhaps for host memory"
        )
    return Kill(Reason.CRASHED, f"the child was ended by {signal.Signals(number).name}")


def _calls_made(calls: int) -> str:
    if not calls:
        return "No external call was made."
    # Not that they were made outside: what was refused is a call of the script's too.
    count = "1 call" if calls == 1 else f"{calls} calls"
    return f"The script had made {count}; `calls` says what became of each."


def _join(first: str | None, second: str) -> str:
    return f"{first} {second}" if first else second
