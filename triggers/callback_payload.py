"""
What a callback says: a small JSON document about the end of a run, or of something else.

Pure: record in, bytes out. It holds a run's result only while that is small; whoever wants more
asks for the run. The record is read at each attempt, so that nothing of a run is kept twice and
what was erased is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

#: Longest JSON text of a result that is sent along.
MAX_RESULT_BYTES = 16 * 1024
#: Fields of a run's record that are read for it.
RUN_FIELDS = (
    *("tenant", "name", "created_ms", "started_ms", "ended_ms", "error", "result"),
    *("origin", "origin_id", "batch", "item", "script_ref", "mode"),
)
_MAX_ERROR_CHARS = 1_000
_NUMBERS = ("created_ms", "started_ms", "ended_ms", "item")


@dataclass(frozen=True, slots=True)
class Ended:
    """
    What ended, as its outbox entry has it. `at_ms` is Unix milliseconds.

    `facts` is a JSON object of further facts, written when it ended; empty for none.
    """

    tenant: str
    kind: str
    subject: str
    outcome: str
    reason: str
    at_ms: int
    facts: bytes = b""


def payload(ended: Ended, run: Mapping[str, bytes | None]) -> bytes:
    """
    Make the body of a callback.

    Args:
        ended: what ended.
        run: `RUN_FIELDS` of its record; empty values where it is no run, or no longer kept.
    """
    noun = ended.kind.partition(".")[0]
    data: dict[str, Any] = {
        "id": ended.subject,
        "state": ended.outcome,
        "reason": ended.reason or None,
        "links": {"self": f"/v1/{_plural(noun)}/{ended.subject}"},
    }
    if noun == "run":
        data |= _of_run(ended, run)
    if ended.facts:
        data |= orjson.loads(ended.facts)
    moment = datetime.fromtimestamp(ended.at_ms / 1000, UTC)
    stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"type": ended.kind, "timestamp": stamp, "data": data})


def _of_run(ended: Ended, run: Mapping[str, bytes | None]) -> dict[str, Any]:
    if run.get("tenant") != ended.tenant.encode():
        return {"kept": False}
    known = {name: value.decode() for name, value in run.items() if value and name != "result"}
    data: dict[str, Any] = {
        name: int(known[name]) if name in _NUMBERS else known[name]
        for name in ("name", "script_ref", "mode", "batch", *_NUMBERS)
        if name in known
    }
    if "origin" in known:
        data["origin"] = {"kind": known["origin"], "id": known.get("origin_id")}
    if "error" in known:
        error = orjson.loads(known["error"])
        data["error"] = {**error, "message": str(error.get("message", ""))[:_MAX_ERROR_CHARS]}
    return data | _result(run.get("result"))


def _result(text: bytes | None) -> dict[str, Any]:
    if text is None:
        return {"result": None}
    if len(text) > MAX_RESULT_BYTES:
        return {"result": None, "result_bytes": len(text), "result_omitted": True}
    return {"result": orjson.Fragment(text)}


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("h") else f"{noun}s"
