"""
Holds the writes of a run to a plan that was approved.

Runs in: worker, CLI. Trusts: the plan, whose digest was checked when it was read; the run's
recording. Refuses: every write that is not the next one of the plan. May import: integrations,
ledger, core; it sends nothing.

A write takes its place in the plan when it is begun, whatever becomes of it then; the tape's intent
has the number, so that a run that is taken up again goes on where it was.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from core.calls import Effect
from core.plans import Plan, PlannedWrite, sha256_of
from integrations.call_log import CallFacts
from integrations.failure import NOT_SENT, CallFailed, printable
from integrations.made_up import at_pointer
from integrations.planning import Candidate, Unplanned
from integrations.redaction import pointer_part
from ledger.recording import Recording
from sandbox.calls import EndRun, Reply

_MAX_SHOWN = 300
_ABSENT: Any = object()


class HeldPlan(Unplanned):
    """A plan and how far one run has come in it, in this attempt and earlier ones."""

    def __init__(self, plan: Plan, recording: Recording) -> None:
        self._writes = plan.writes
        self._taken = {
            call.seq: call.write for call in recording.calls.values() if call.write is not None
        }
        self._next = 1 + max(self._taken.values(), default=0)
        self._used = {one.write for write in plan.writes for one in write.references.values()}
        self._replies: dict[int, Any] = {}

    @property
    def taken(self) -> Mapping[int, int]:
        """Which write of the plan each call is, by number of call."""
        return self._taken

    def place(self, facts: CallFacts, call: Candidate) -> CallFacts:
        """Give the facts of a write with its number in the plan: it has to be the next one."""
        if not call.writes:
            return facts
        return replace(facts, write=self._number(call, facts.seq))

    def approves(self, facts: CallFacts) -> bool:
        """Tell that whoever approved the plan has approved its writes."""
        return facts.write is not None

    def begin(self, facts: CallFacts) -> None:
        """Note that a write is made as its number of the plan."""
        if facts.write is not None:
            self._taken[facts.seq] = facts.write
            self._next = max(self._next, facts.write + 1)

    def learn(self, seq: int, reply: Reply | EndRun) -> None:
        """Take the real reply to a write: later ones may use what stands in it."""
        number = self._taken.get(seq)
        if number in self._used and isinstance(reply, Reply) and reply.ok:
            self._replies[number] = orjson.loads(reply.body)

    def _number(self, call: Candidate, seq: int) -> int:
        known = self._taken.get(seq)
        number = known or self._next
        name, count = call.function.full_name, len(self._writes)
        if number > count:
            raise _off_plan(
                f"call {seq} is {_said(call)}; the plan has no more writes, all {count} were begun"
            )
        write = self._writes[number - 1]
        place = f"write {number} of {count}"
        expected = f"the plan has {place} next: {_said_write(write)}"
        if (write.name, write.account) != (name, call.account):
            raise _off_plan(f"call {seq} is {_said(call)}; {expected}")
        difference = self._difference(write, call)
        if difference is not None:
            raise _off_plan(
                f"call {seq} is {name} as {place} of the plan, with other arguments: {difference}"
            )
        return number

    # --- arguments ------------------------------------------------------------------------------

    def _difference(self, write: PlannedWrite, call: Candidate) -> str | None:
        real: dict[str, str] = {}
        for value, origin in write.references.items():
            try:
                found = at_pointer(self._replies.get(origin.write), origin.path)
            except LookupError:
                found = None
            if not isinstance(found, str):
                return (
                    f"it uses what write {origin.write} answers at {origin.path},"
                    " where its real answer has no text"
                )
            real[value] = found
        hidden = set(write.redacted)
        expected, given = _resolved(write.arguments, real), call.arguments
        shown, _ = call.redacted()
        for pointer, wanted, got in _differences(expected, given, ""):
            if pointer not in hidden:
                return _told(pointer, wanted, _shown_at(shown, pointer, got))
        planned = copy.deepcopy(write.arguments)
        for pointer in hidden:
            planned = _filled(planned, given, pointer)
        if sha256_of(planned) != write.arguments_sha256:
            places = ", ".join(sorted(hidden)) or "/"
            return f"a value that the plan does not show is another one (at {places})"
        return None


def _resolved(value: Any, real: Mapping[str, str]) -> Any:
    """Put real values in the place of made-up ones."""
    if isinstance(value, str) and real:
        # All at once: a real value may look like a made-up one.
        made_up = "|".join(re.escape(one) for one in sorted(real, key=len, reverse=True))
        return re.sub(made_up, lambda found: real[found[0]], value)
    if isinstance(value, list):
        return [_resolved(item, real) for item in value]
    if isinstance(value, dict):
        return {_resolved(key, real): _resolved(item, real) for key, item in value.items()}
    return value


def _differences(wanted: Any, got: Any, pointer: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        for key in [*wanted, *(one for one in got if one not in wanted)]:
            place = f"{pointer}/{pointer_part(key)}"
            yield from _differences(wanted.get(key, _ABSENT), got.get(key, _ABSENT), place)
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for at, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from _differences(one, other, f"{pointer}/{at}")
    elif type(wanted) is not type(got) or wanted != got:
        yield pointer, wanted, got


def _filled(planned: Any, given: Any, pointer: str) -> Any:
    """Put the value that was given into the place of one that the plan does not show."""
    try:
        value = at_pointer(given, pointer)
        above = at_pointer(planned, pointer.rpartition("/")[0])
    except LookupError:
        return planned
    key = pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")
    if pointer == "":
        return value
    above[int(key) if isinstance(above, list) else key] = value
    return planned


def _shown_at(shown: Any, pointer: str, got: Any) -> Any:
    if got is _ABSENT:
        return _ABSENT
    try:
        return at_pointer(shown, pointer)
    except LookupError:
        return "[redacted]"


def _told(pointer: str, wanted: Any, got: Any) -> str:
    place = pointer or "/"
    if got is _ABSENT:
        return f"{place} is missing; the plan has {_text(wanted)}"
    if wanted is _ABSENT:
        return f"{place} is {_text(got)}; the plan has nothing there"
    return f"{place} is {_text(got)}; the plan has {_text(wanted)}"


def _said(call: Candidate) -> str:
    shown = printable(call.shown, _MAX_SHOWN)
    return f"{call.function.full_name}{_with(call.account)} {shown}"


def _said_write(write: PlannedWrite) -> str:
    return f"{write.name}{_with(write.account)} {_text(write.arguments)}"


def _with(account: str | None) -> str:
    return "" if account in {None, "default"} else f" with account {account}"


def _text(value: Any) -> str:
    return printable(orjson.dumps(value).decode(), _MAX_SHOWN)


def _off_plan(why: str) -> CallFailed:
    return CallFailed("denied", f"denied: off plan: {why}; {NOT_SENT}", effect=Effect.DENIED)
