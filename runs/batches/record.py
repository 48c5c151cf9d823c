"""A batch's record, between the hash that is stored and what is shown."""

from __future__ import annotations

from typing import Any, cast

import orjson

from runs.batches.model import BatchCounts, BatchRecord, BatchState
from runs.endings import state_of
from runs.model import State
from sandbox.outcome import Reason

_END = b"end:"


def to_batch(batch_id: str, fields: dict[bytes, bytes]) -> BatchRecord:
    """Make what is shown of a batch of all fields of its hash."""
    reasons = {
        Reason(name.removeprefix(_END).decode()): int(count)
        for name, count in sorted(fields.items())
        if name.startswith(_END) and int(count)
    }
    status = BatchState(fields[b"state"].decode())
    return BatchRecord(
        id=batch_id,
        status=status,
        tenant=fields[b"tenant"].decode(),
        name=orjson.loads(fields[b"request"])["name"],
        concurrency=int(fields[b"concurrency"]),
        stop_after=int(fields[b"stop_after"]) or None,
        counts=_counts(fields, reasons, ended=status.terminal),
        reasons=reasons,
        stopped_by=cast("Any", fields.get(b"stopped_by", b"").decode() or None),
        created_ms=int(fields[b"created_ms"]),
        sealed_ms=_number(fields, b"sealed_ms"),
        ended_ms=_number(fields, b"ended_ms"),
    )


def _counts(fields: dict[bytes, bytes], reasons: dict[Reason, int], *, ended: bool) -> BatchCounts:
    by_state = dict.fromkeys(State, 0)
    for reason, count in reasons.items():
        by_state[state_of(reason)] += count
    received, fed = int(fields[b"received"]), int(fields[b"fed"])
    left = received - fed
    return BatchCounts(
        received=received,
        pending=0 if ended else left,
        in_flight=max(0, fed - int(fields[b"ended"])),
        succeeded=by_state[State.SUCCEEDED],
        failed=by_state[State.FAILED],
        cancelled=by_state[State.CANCELLED],
        skipped=left if ended else 0,
    )


def _number(fields: dict[bytes, bytes], name: bytes) -> int | None:
    return int(fields[name]) if name in fields else None
