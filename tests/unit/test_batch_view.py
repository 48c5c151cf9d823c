"""What is shown of a batch to who does not look at a terminal."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from moonsand.batch_view import Lines
from runs.batches.model import BatchCounts, BatchRecord, BatchState


def record(*, succeeded: int) -> BatchRecord:
    """Give a batch of 9 items."""
    left = 9 - succeeded
    return BatchRecord(
        id="bat_x",
        status=BatchState.RUNNING if left else BatchState.COMPLETED,
        tenant="acme",
        name="script",
        concurrency=1,
        stop_after=None,
        counts=BatchCounts(
            received=9,
            pending=0,
            in_flight=left,
            succeeded=succeeded,
            failed=0,
            cancelled=0,
            skipped=0,
        ),
        reasons={},
        created_ms=1,
        sealed_ms=2,
    )


def test_there_is_a_line_each_second_also_when_nothing_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who reads them knows that the command lives; the end is told at once, and once."""
    now = [100.0]
    # Not the module's own: others in this process wait by it.
    monkeypatch.setattr("moonsand.batch_view.time", SimpleNamespace(monotonic=lambda: now[0]))

    with Lines() as view:
        for tick in range(61):
            now[0] = 100.0 + tick / 2
            view.show(record(succeeded=3), 9)
        view.show(record(succeeded=9), 9)

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["succeeded"] for row in rows] == [3] * 31 + [9]
    assert rows[-1]["status"] == "completed"
