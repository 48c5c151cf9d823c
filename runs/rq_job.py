"""
The RQ job of a run, as RQ 3.0 would write it: the envelope that carries the run's id.

Nothing here imports RQ: the accepting side needs the layout of one hash, not a worker.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from datetime import UTC, datetime

#: The only function a worker answers to. It names nothing that can be imported.
FUNC_NAME = "moonsand.run"

#: Added to a run's wall limit for RQ's own `timeout` field, which only people read.
_TIMEOUT_MARGIN_S = 60

_MAX_DATA_BYTES = 4096


class ForeignJob(Exception):
    """The job is not one of ours; the message says what was seen, cut and escaped."""


def timestamp(at_ms: int) -> str:
    """Write a Unix time in milliseconds as RQ writes times."""
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def job_data(run_id: str) -> bytes:
    """Encode the call `moonsand.run(run_id)` so that RQ's JSON serializer reads it."""
    # To compress it would save 5 bytes, for the time that all else about a job takes together.
    return _stored(json.dumps([FUNC_NAME, None, [run_id], {}]).encode())


def _stored(text: bytes) -> bytes:
    """Give a zlib stream (RFC 1950) of one block that is not compressed."""
    size = len(text)
    checksum = struct.pack(">I", zlib.adler32(text))
    return b"\x78\x01\x01" + struct.pack("<HH", size, size ^ 0xFFFF) + text + checksum


def job_fields(  # noqa: PLR0913 (one parameter per thing an RQ job must say)
    run_id: str,
    queue: str,
    *,
    now_ms: int,
    wall_ms: int,
    queue_ttl_s: int,
    result_ttl_s: int,
    failure_ttl_s: int,
) -> list[str | bytes | int]:
    """Give the fields and values of the hash `rq:job:<run id>` of a queued run."""
    now = timestamp(now_ms)
    fields: dict[str, str | bytes | int] = {
        "status": "queued",
        "created_at": now,
        "enqueued_at": now,
        "data": job_data(run_id),
        "origin": queue,
        "description": f"{FUNC_NAME}('{run_id}')",
        "timeout": math.ceil(wall_ms / 1000) + _TIMEOUT_MARGIN_S,
        "ttl": queue_ttl_s,
        "result_ttl": result_ttl_s,
        "failure_ttl": failure_ttl_s,
    }
    fields.update(
        dict.fromkeys(
            (
                "started_at",
                "ended_at",
                "last_heartbeat",
                "worker_name",
                "group_id",
                "success_callback_name",
                "failure_callback_name",
                "stopped_callback_name",
            ),
            "",
        )
    )
    return [part for pair in fields.items() for part in pair]


def check_job(job_id: str, data: bytes | None) -> None:
    """
    Refuse a job that is not exactly `moonsand.run(job_id)`. Nothing of it is imported or called.

    Raises:
        ForeignJob: saying what it is instead.
    """
    if data is None:
        raise ForeignJob("the job has no data")
    if data == job_data(job_id):
        return
    try:
        unpacker = zlib.decompressobj()
        call = json.loads(unpacker.decompress(data, _MAX_DATA_BYTES))
        func_name, instance, args, kwargs = call
    except (zlib.error, ValueError, TypeError):
        raise ForeignJob("the job's data is not the compressed JSON of one call") from None
    if func_name != FUNC_NAME:
        seen = ascii(func_name)[:80]
        raise ForeignJob(f"this worker runs {FUNC_NAME} and nothing else, not {seen}")
    if instance is not None or args != [job_id] or kwargs:
        raise ForeignJob(f"{FUNC_NAME} takes one argument, which is the id of its own job")
