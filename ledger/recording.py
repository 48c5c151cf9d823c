"""
What a tape already tells of a run: the calls that were made, and the replies that came.

Runs in: worker, CLI. Trusts: the tape. Refuses: a tape that tells two ends of one call.
May import: core.

One recording is made of the entries of all attempts before. It knows no Redis: the entries may
come from a stream, an archive or an exported file.

An effect marked `abandoned` was written by an attempt that had lost its script: no script saw it.
If it says `failed`, nothing was done outside and the call may be made as if for the first time;
if it says `unknown`, it tells no more than the intent before it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.calls import CallRecord, Effect, EffectClass
from ledger.tape import Entry, Kind

#: What a script named when it made a call: integration, account, function.
Asked = tuple[str, str | None, str]


class TapeUnreadable(Exception):
    """The entries are no tape of a run."""


class TapeTorn(TapeUnreadable):
    """An entry is missing: the store lost some that it had confirmed."""


@dataclass(frozen=True, slots=True)
class RecordedReply:
    """
    The reply to a call, as the script got it or was about to get it.

    `order` is its effect's place among all replies of the run, from 1. `body` is JSON text.
    """

    order: int
    effect: Effect
    ok: bool
    body: str
    clock_ms: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class RecordedWait:
    """
    What a call waits for before it goes on: `sleep` or `approval`.

    It is over at `until_ms`, Unix milliseconds, if not before. `answer` is what a person said:
    `decision`, `comment`, `by` and `at_ms`.
    """

    kind: str
    until_ms: int
    answer: Mapping[str, Any] | None = None


@dataclass(slots=True)
class RecordedCall:
    """
    One call of a run.

    `began` is the tape's number of its first intent, 0 for a call that was refused and has none;
    `began_ms` the time of that entry. `reply` is None while nobody knows how it ended. `undone`
    tells that it was begun, nothing was done, and no script was told. `wait` is there when it
    had to wait before it could begin, or is a wait and nothing else.
    """

    seq: int
    asked: Asked
    name: str
    account: str | None
    effect_class: EffectClass
    arguments_sha256: str
    began: int
    began_ms: int
    preview: str = ""
    idempotency_key: str | None = None
    reply: RecordedReply | None = None
    undone: bool = False
    wait: RecordedWait | None = None
    write: int | None = None
    planned: Mapping[str, Any] | None = None

    @property
    def lost(self) -> bool:
        """Tell whether it was begun and nobody knows how it ended."""
        return self.reply is None and self.began > 0 and not self.undone

    @property
    def waits(self) -> bool:
        """Tell whether it has waited, as far as the tape tells, and done nothing else."""
        return self.wait is not None and self.reply is None and self.began == 0

    def record(self) -> CallRecord:
        """Give it as results show it; a write of which nobody knows is `unknown`."""
        effect, duration_ms = Effect.FAILED, 0
        if self.reply is not None:
            effect, duration_ms = self.reply.effect, self.reply.duration_ms
        elif self.lost and self.effect_class is EffectClass.WRITE:
            effect = Effect.UNKNOWN
        return CallRecord(
            seq=self.seq,
            name=self.name,
            account=self.account,
            effect_class=self.effect_class,
            effect=effect,
            duration_ms=duration_ms,
        )


@dataclass(slots=True)
class Recording:
    """
    All that a tape tells of a run's calls, by number of call.

    `replies` counts them; `attempts` counts `started` entries; `clock_ms` is the time at which the
    script's clock starts, that of the first of them. `surface_sha256` is the digest of what the
    script saw, None when no call was made. `length` is the number of the last entry.
    """

    calls: dict[int, RecordedCall] = field(default_factory=dict)
    replies: int = 0
    attempts: int = 0
    clock_ms: int | None = None
    surface_sha256: str | None = None
    length: int = 0

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Recording:
        """
        Make a recording of all entries of a tape, in their order.

        Raises:
            TapeUnreadable: a call has two ends, or an end and no beginning.
        """
        recording = cls()
        for entry in entries:
            recording._take(entry)
        return recording

    @classmethod
    async def read(cls, entries: AsyncIterable[Entry], *, bodies: bool = True) -> Recording:
        """Do as `of` does, with entries that come one by one; `bodies` of replies may be left."""
        recording = cls()
        async for entry in entries:
            recording._take(entry, bodies=bodies)
        return recording

    def _take(self, entry: Entry, *, bodies: bool = True) -> None:
        if entry.seq != self.length + 1:
            raise TapeTorn(f"entry {self.length + 1} is missing: the tape was lost in part")
        self.length = entry.seq
        if self.surface_sha256 is None and entry.kind not in {Kind.ACCEPTED, Kind.STARTED}:
            self.surface_sha256 = entry.body.get("surface_sha256")
        if entry.kind is Kind.STARTED:
            self.attempts += 1
            if self.clock_ms is None:
                self.clock_ms = entry.body.get("clock_ms")
        elif entry.kind is Kind.WAITING:
            self._wait(entry)
        elif entry.kind is Kind.ANSWERED:
            self._answer(entry)
        elif entry.kind is Kind.INTENT:
            self._begin(entry)
        elif entry.kind is Kind.EFFECT:
            self._end(entry, bodies=bodies)

    def _wait(self, entry: Entry) -> None:
        if entry.body["seq"] in self.calls:
            raise TapeUnreadable(f"entry {entry.seq}: call {entry.body['seq']} waits twice")
        call = self.calls[entry.body["seq"]] = _call(entry, began=0)
        call.wait = RecordedWait(entry.body["for"], entry.body["until_ms"])

    def _answer(self, entry: Entry) -> None:
        call = self.calls.get(entry.body["seq"])
        if call is None or call.wait is None or not call.waits:
            raise TapeUnreadable(f"entry {entry.seq}: nobody waits for this answer")
        call.wait = replace(call.wait, answer=entry.body)

    def _begin(self, entry: Entry) -> None:
        seq = entry.body["seq"]
        known = self.calls.get(seq)
        if known is None or known.undone or known.waits:
            call = self.calls[seq] = _call(entry, began=entry.seq)
            call.wait = known.wait if known is not None else None
        elif known.reply is not None:
            raise TapeUnreadable(f"entry {entry.seq}: call {seq} begins after its end")

    def _end(self, entry: Entry, *, bodies: bool) -> None:
        body = entry.body
        seq, effect = body["seq"], Effect(body["effect"])
        call = self.calls.get(seq)
        if body.get("abandoned") and call is not None:
            call.undone = effect is not Effect.UNKNOWN
            return
        if call is None and "name" in body:
            call = self.calls[seq] = _call(entry, began=0)
        if call is None or call.reply is not None:
            raise TapeUnreadable(f"entry {entry.seq}: call {seq} ends twice or never began")
        self.replies += 1
        call.planned = body.get("planned")
        call.reply = RecordedReply(
            order=self.replies,
            effect=effect,
            ok=body["ok"],
            body=body["reply"] if bodies else "",
            clock_ms=body["clock_ms"],
            duration_ms=body["duration_ms"],
        )


def _call(entry: Entry, *, began: int) -> RecordedCall:
    body = entry.body
    return RecordedCall(
        seq=body["seq"],
        asked=_asked(body),
        name=body["name"],
        account=body["account"],
        effect_class=EffectClass(body["effect_class"]),
        arguments_sha256=body["arguments_sha256"],
        began=began,
        began_ms=entry.at_ms,
        preview=body.get("preview", ""),
        idempotency_key=body.get("idempotency_key"),
        write=body.get("write"),
    )


def _asked(body: Any) -> Asked:
    asked = body.get("asked")
    if asked is None:
        raise TapeUnreadable("a call does not say how the script named it")
    integration, account, function = asked
    return integration, account, function
