"""A run's record and result, between what is stored and what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from core.calls import CallRecord
from core.plans import Mode, Plan
from runs.endings import Ending, error_json
from runs.model import Priority, RunError, RunRecord, RunResult, State, UsageRecord
from runs.origin import Origin
from sandbox.outcome import Reason
from tenancy.grants import Whose, kept_form

#: Fields of the hash that a list of runs shows; each is small.
SUMMARY = (
    "tenant",
    "name",
    "script_sha256",
    "limits",
    "grants",
    "seed",
    "mode",
    "attempt",
    "created_ms",
    "started_ms",
    "ended_ms",
    "state",
    "reason",
    "error",
    "usage",
    "waits",
    "origin",
    "origin_id",
    "script_ref",
    "priority",
    "expires_ms",
)
#: All fields that a record shows; the input stays in Redis.
WHOLE = (*SUMMARY, "callback", "calls", "output", "result", "plan", "applied")


def to_record(
    run_id: str,
    fields: Sequence[str],
    values: Sequence[bytes | None],
    *,
    raw_result: bool = False,
) -> RunRecord:
    """
    Make a record of the values of `fields`, as HMGET gave them.

    With `raw_result` the result is an `orjson.Fragment`: it may be megabytes nobody reads here.
    """
    known = {name: value for name, value in zip(fields, values, strict=True) if value is not None}
    error, usage = known.get("error"), known.get("usage")
    result = known.get("result") or b"null"
    return RunRecord(
        id=run_id,
        status=State(known["state"].decode()),
        reason=Reason(known["reason"].decode()) if "reason" in known else None,
        result=orjson.Fragment(result) if raw_result else orjson.loads(result),
        output=known.get("output", b"").decode(),
        error=RunError(**orjson.loads(error)) if error else None,
        calls=[CallRecord(**call) for call in _json(known, "calls") or ()],
        usage=UsageRecord(**orjson.loads(usage)) if usage else UsageRecord(),
        mode=Mode(known.get("mode", b"run").decode()),
        plan=Plan.read(known["plan"]) if "plan" in known else None,
        applied=_number(known, "applied"),
        tenant=known["tenant"].decode(),
        name=known["name"].decode(),
        script_sha256=known["script_sha256"].decode(),
        limits=_json(known, "limits"),
        **_grant_fields(_json(known, "grants")),
        seed=int(known["seed"]),
        attempt=int(known["attempt"]),
        created_ms=int(known["created_ms"]),
        started_ms=_number(known, "started_ms"),
        ended_ms=_number(known, "ended_ms"),
        waits=_json(known, "waits"),
        origin=Origin.of_fields(known.get("origin"), known.get("origin_id")),
        callback=known["callback"].decode() if "callback" in known else None,
        script_ref=known["script_ref"].decode() if "script_ref" in known else None,
        priority=Priority(known.get("priority", b"normal").decode()),
        expires_ms=_number(known, "expires_ms"),
    )


def to_result(run_id: str, ending: Ending, mode: Mode = Mode.RUN) -> RunResult:
    """Make what is shown of a run that has just ended."""
    error = error_json(ending)
    return RunResult(
        id=run_id,
        status=ending.state,
        reason=ending.reason,
        result=orjson.loads(ending.result),
        output=ending.output,
        error=RunError(**error) if error else None,
        calls=[CallRecord(**call) for call in ending.calls],
        usage=UsageRecord(**ending.usage.to_json()),
        mode=mode,
        plan=ending.plan,
        applied=ending.applied,
    )


def kept_grants(record: RunRecord) -> Any:
    """Give what the field `grants` keeps: all that `Grants.of_json` needs."""
    sets = dict(record.ceiling or {})
    if record.grants is not None:
        sets[Whose.RUN.value] = record.grants
    return kept_form(sets, force=record.force)


def _grant_fields(kept: Any) -> dict[str, Any]:
    """Tell apart what the run asked for, what it could get, and whether it was forced."""
    if not isinstance(kept, dict):
        return {"grants": kept}
    ceiling = {whose: kept[whose] for whose in Whose if whose in kept and whose is not Whose.RUN}
    force = kept.get("force") is True
    return {"grants": kept.get(Whose.RUN), "ceiling": ceiling or None, "force": force}


def _json(known: dict[str, bytes], name: str) -> Any:
    text = known.get(name)
    return orjson.loads(text) if text else None


def _number(known: dict[str, bytes], name: str) -> int | None:
    text = known.get(name)
    return int(text) if text else None
