"""The envelope of a run in RQ: what we write, and what of others' writing we refuse."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from runs.rq_job import ForeignJob, check_job, job_data, timestamp

ID = "run_1"
NOT_ITS_OWN = "moonsand.run takes one argument, which is the id of its own job"


def packed(call: Any) -> bytes:
    """Encode a call as RQ's JSON serializer does."""
    return zlib.compress(json.dumps(call).encode(), 9)


def test_our_own_jobs_are_taken_however_they_were_compressed() -> None:
    """RQ compresses again when it writes a job anew."""
    check_job(ID, job_data(ID))
    check_job(ID, packed(["moonsand.run", None, [ID], {}]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "the job has no data"),
        (b"", "the job's data is not the compressed JSON of one call"),
        (b"cos\nsystem\n", "the job's data is not the compressed JSON of one call"),
        (packed({}), "the job's data is not the compressed JSON of one call"),
        (packed("a" * 100_000), "the job's data is not the compressed JSON of one call"),
        (
            packed([["a"], None, [ID], {}]),
            "this worker runs moonsand.run and nothing else, not ['a']",
        ),
        (
            packed(["os.system", None, ["x"], {}]),
            "this worker runs moonsand.run and nothing else, not 'os.system'",
        ),
        (packed(["moonsand.run", None, ["run_2"], {}]), NOT_ITS_OWN),
        (packed(["moonsand.run", "object", [ID], {}]), NOT_ITS_OWN),
        (packed(["moonsand.run", None, [ID], {"x": 1}]), NOT_ITS_OWN),
        (packed(["moonsand.run", None, [ID, ID], {}]), NOT_ITS_OWN),
    ],
)
def test_anything_else_is_refused(data: bytes | None, message: str) -> None:
    """A job is compared, never imported, called or unpickled; a bomb is not unpacked."""
    with pytest.raises(ForeignJob) as refused:
        check_job(ID, data)

    assert str(refused.value) == message


def test_times_are_written_as_rq_writes_them() -> None:
    """UTC, six digits, a Z."""
    assert timestamp(1_700_000_000_123) == "2023-11-14T22:13:20.123000Z"


def test_the_data_of_a_job_is_a_stream_that_anybody_decompresses() -> None:
    """It is not compressed, and yet what zlib reads: RQ's tools show the call."""
    assert json.loads(zlib.decompress(job_data(ID))) == ["moonsand.run", None, [ID], {}]
