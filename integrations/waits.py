"""
Calls that wait: for a time to come, or for a person to say yes.

Runs in: worker, CLI. Trusts: the recording, the answers it is given. Refuses: waits that would end
after the run may wait no longer; questions nobody can be asked; to go on without an answer.
May import: ledger, core, sandbox vocabulary; never Redis.

A wait is written to the tape before it begins. One that is long is parked: when the script waits
for nothing else its child is let go, and the run is executed again over its tape when the time has
come or the answer is there. So a wait has one end, on the tape, however often it was begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from core.calls import Effect, EffectClass
from integrations.call_log import CallFacts, CallLog, Ending
from integrations.failure import NOT_SENT, CallFailed, encode_failure, printable
from ledger.recording import RecordedCall, RecordedWait
from sandbox.calls import Call, EndRun, Reply
from sandbox.outcome import Reason

if TYPE_CHECKING:
    from core.clock import Clock
    from sandbox.parking import Parking

#: What a call of these is named by the child; no integration can have this name.
RUN = "run"
MAX_DETAILS_BYTES = 16_384
MAX_TITLE_CHARS = 200
#: Characters of a call's arguments that an approval shows.
_MAX_PREVIEW_CHARS = 4_096


class Decision(StrEnum):
    """What a person can say."""

    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said to a question. `by` is the id of an API key; `at_ms` Unix milliseconds."""

    decision: Decision
    by: str
    at_ms: int
    comment: str | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Answer:
        """Read it from a tape or a store."""
        return cls(Decision(body["decision"]), body["by"], body["at_ms"], body.get("comment"))

    def to_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WaitTerms:
    """
    How one attempt's calls may wait. Times are Unix milliseconds.

    None may end after `until_ms`. One of `in_place_ms` or more is parked. `answers` are those given
    before `now_ms`, by number of call; at that time no other had been given. Without `can_ask`
    there is nobody who could give one.
    """

    until_ms: int
    in_place_ms: int = 1_000
    now_ms: int = 0
    answers: Mapping[int, Answer] = field(default_factory=dict)
    can_ask: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked: what a script wants to be told, or whether a call may be made."""

    title: str
    details: Any = None
    function: str | None = None
    account: str | None = None
    preview: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait that is not over. One with a `question` is for an approval, else it is a sleep."""

    seq: int
    began_ms: int
    until_ms: int
    question: Question | None = None

    @property
    def kind(self) -> str:
        """Give `sleep` or `approval`."""
        return "sleep" if self.question is None else "approval"


class Written:
    """Something on its way to the tape: it is seen through, whoever has stopped to wait for it."""

    def __init__(self, writing: Coroutine[Any, Any, Any]) -> None:
        self.task = asyncio.create_task(writing)

    def stop(self) -> None:
        """Do nothing: half an entry is worse than one that nobody asked for."""


class SeeThrough(Protocol):
    """Waits for something written, in a way that survives the end of who waits."""

    async def __call__(self, written: Written, /) -> Any:
        """Give what it gives."""
        ...


class Waits:
    """
    The waits of one attempt; without `terms` all are in place and nobody can be asked.

    `open` has those that are not over, by number of call.
    """

    def __init__(
        self,
        log: CallLog,
        clock: Clock,
        see_through: SeeThrough,
        terms: WaitTerms | None = None,
        parking: Parking | None = None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._see_through = see_through
        self._terms = terms
        self._parking = parking
        self.open: dict[int, Wait] = {}

    async def answer(self, call: Call, before: RecordedCall | None) -> Reply | EndRun:
        """
        Answer a call of `run`, when its time has come.

        Raises:
            TapeError: the tape could not be written; the script must learn nothing.
        """
        facts = CallFacts.of(
            call, f"{RUN}.{printable(call.function, 64)}", None, EffectClass.READ, time.monotonic()
        )
        waited = before.wait if before is not None else None
        function = {"sleep": self._sleep, "approval": self._request}.get(call.function, _unknown)
        try:
            return await function(facts, call, waited)
        except CallFailed as refusal:
            return await self._fail(facts, refusal, told=waited is None)

    async def approved(
        self, facts: CallFacts, question: Question, before: RecordedCall | None, why: CallFailed
    ) -> Reply | EndRun | None:
        """
        Wait until a call was approved: None; else give the refusal.

        Raises:
            CallFailed: `why`, when nobody can be asked.
            TapeError: the tape could not be written.
        """
        if self._terms is None or not self._terms.can_ask:
            raise why
        waited = before.wait if before is not None else None
        if waited is None:
            waited = await self._begin(facts, "approval", self._terms.until_ms, question.preview)
        answer = await self._decided(facts.seq, waited, question)
        if answer is None:
            return _expired(facts.name)
        if answer.decision is Decision.APPROVE:
            return None
        return await self._deny(facts, answer)

    # --- sleeping -------------------------------------------------------------------------------

    async def _sleep(self, facts: CallFacts, call: Call, waited: RecordedWait | None) -> Reply:
        match orjson.loads(call.arguments):
            case [int(ms)] if not isinstance(ms, bool) and ms >= 0:
                pass
            case _:
                raise CallFailed("invalid_arguments", f"sleep takes a time; {NOT_SENT}")
        terms = self._terms
        if waited is None and (terms is None or ms < terms.in_place_ms):
            await asyncio.sleep(ms / 1000)
            return await self._end(facts, Ending(Effect.SUCCEEDED, ok=True, body=b"null"), True)
        if waited is None:
            waited = await self._begin(facts, "sleep", self._clock() + ms, None)
        await self._pass(facts.seq, waited)
        return await self._end(facts, Ending(Effect.SUCCEEDED, ok=True, body=b"null"), False)

    async def _pass(self, seq: int, waited: RecordedWait) -> None:
        """Wait until the time has come, by the later of the clocks that may have said so."""
        terms = self._terms
        clock_ms = max(self._clock(), terms.now_ms if terms else 0)
        left_ms = waited.until_ms - clock_ms
        if left_ms <= 0:
            return
        self.open[seq] = Wait(seq, clock_ms, waited.until_ms)
        parked = terms is not None and left_ms >= terms.in_place_ms
        if parked and self._parking is not None:
            self._parking.park(seq)
        await asyncio.sleep(left_ms / 1000)
        del self.open[seq]
        if parked and self._parking is not None:
            self._parking.take_back(seq)

    # --- asking ---------------------------------------------------------------------------------

    async def _request(
        self, facts: CallFacts, call: Call, waited: RecordedWait | None
    ) -> Reply | EndRun:
        title, details, timeout_ms = _asked(call)
        if self._terms is None or not self._terms.can_ask:
            raise CallFailed(
                "approval_required",
                f"approval.request: nobody can be asked here; {NOT_SENT}",
                effect=Effect.DENIED,
            )
        question = Question(title, details)
        if waited is None:
            until_ms = self._terms.until_ms
            if timeout_ms is not None:
                until_ms = self._clock() + timeout_ms
            waited = await self._begin(facts, "approval", until_ms, title)
        answer = await self._decided(facts.seq, waited, question)
        if answer is None:
            if timeout_ms is None:
                return _expired("approval.request")
            message = f"approval.request: nobody answered within {timeout_ms / 1000:g} s"
            return await self._fail(facts, CallFailed("expired", message), told=False)
        if answer.decision is Decision.DENY:
            return await self._deny(facts, answer)
        body = {"approved": True, "by": answer.by, "at_ms": answer.at_ms}
        if answer.comment is not None:
            body["comment"] = answer.comment
        return await self._end(
            facts, Ending(Effect.SUCCEEDED, ok=True, body=orjson.dumps(body)), False
        )

    async def _decided(self, seq: int, waited: RecordedWait, question: Question) -> Answer | None:
        """Give the answer; None when it is too late for one. Without either this never returns."""
        terms = self._terms
        assert terms is not None  # noqa: S101 (nobody is asked without terms)
        if waited.answer is not None:
            return Answer.of(waited.answer)
        answer = terms.answers.get(seq)
        if answer is not None:
            await self._see_through(Written(self._log.answered(seq, answer.to_json())))
            return answer
        if terms.now_ms >= waited.until_ms:
            return None
        self.open[seq] = Wait(seq, self._clock(), waited.until_ms, question)
        if self._parking is not None:
            self._parking.park(seq)
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nothing ends this wait but the end of the attempt")

    async def _deny(self, facts: CallFacts, answer: Answer) -> Reply:
        said = f": {answer.comment}" if answer.comment else ""
        name = "approval.request" if facts.name == f"{RUN}.approval" else facts.name
        message = f"{name} was denied by {answer.by}{said}; {NOT_SENT}"
        denied = CallFailed("denied", message, effect=Effect.DENIED)
        more = {"comment": answer.comment, "by": answer.by, "at_ms": answer.at_ms}
        return await self._fail(facts, denied, told=False, more=more)

    # --- the tape -------------------------------------------------------------------------------

    async def _begin(
        self, facts: CallFacts, kind: str, until_ms: int, preview: str | None
    ) -> RecordedWait:
        terms = self._terms
        if terms is not None and until_ms > terms.until_ms:
            days = (terms.until_ms - self._clock()) / 86_400_000
            raise CallFailed(
                "wait_limit",
                f"{facts.name}: this run may wait for {max(days, 0):.1f} days more, no longer",
            )
        await self._see_through(Written(self._log.waiting(facts, kind, until_ms, preview or "")))
        return RecordedWait(kind, until_ms)

    async def _end(self, facts: CallFacts, ending: Ending, told: bool) -> Reply:  # noqa: FBT001
        writing = self._log.effect(facts, ending, refused=told)
        reply: Reply = await self._see_through(Written(writing))
        return reply

    async def _fail(
        self,
        facts: CallFacts,
        failure: CallFailed,
        *,
        told: bool,
        more: Mapping[str, Any] | None = None,
    ) -> Reply:
        integration, _, name = facts.name.rpartition(".")
        body = encode_failure(failure, integration, facts.account, name)
        if more:
            body = orjson.dumps({**orjson.loads(body), **more})
        return await self._end(facts, Ending(failure.effect, ok=False, body=body), told)


def question_of(name: str, account: str | None, preview: str) -> Question:
    """Ask whether a call may be made; `preview` are its arguments, secrets taken out."""
    shown = preview[:_MAX_PREVIEW_CHARS]
    return Question(f"may {name} be called?", function=name, account=account, preview=shown)


async def _unknown(facts: CallFacts, _call: Call, _waited: RecordedWait | None) -> Reply:
    raise CallFailed("unknown_function", f"{facts.name} is no function; {NOT_SENT}")


def _asked(call: Call) -> tuple[str, Any, int | None]:
    match orjson.loads(call.arguments):
        case [str(title), details, None | int() as timeout_ms] if not isinstance(timeout_ms, bool):
            pass
        case _:
            raise CallFailed("invalid_arguments", f"approval.request takes a title; {NOT_SENT}")
    size = len(orjson.dumps(details))
    if size > MAX_DETAILS_BYTES:
        raise CallFailed(
            "invalid_arguments",
            f"approval.request: the details have {size} bytes; at most {MAX_DETAILS_BYTES} are"
            " allowed",
        )
    return printable(title, MAX_TITLE_CHARS), details, timeout_ms


def _expired(name: str) -> EndRun:
    return EndRun(
        Reason.EXPIRED,
        f"{name}: nobody answered in the time that this run may wait",
        "nothing that needed the approval was done; submit it again if it is still wanted",
    )
