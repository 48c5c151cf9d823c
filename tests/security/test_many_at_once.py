"""More runs at once than the zygote's socket has room to be asked for."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from sandbox.calls import Call, Reply, StartRequest
from sandbox.outcome import Outcome, Reason
from sandbox.supervisor import Sandbox
from tests.deadline import Deadline

pytestmark = pytest.mark.jail

RUNS, SPARES = 600, 3


async def test_no_lease_is_lost_while_the_zygote_is_busy() -> None:
    """Every run gets a child and its own result, and the warm children are there again after."""

    async def answer(call: Call) -> Reply:
        return Reply(ok=True, body=b"null", clock_ms=0)

    async with Sandbox(SPARES) as box:

        async def run(number: int) -> Outcome:
            return await box.run(StartRequest(script=b"return %d" % number), answer)

        async with asyncio.timeout(40):
            outcomes = await asyncio.gather(*map(run, range(RUNS)))

        assert Counter(outcome.reason for outcome in outcomes) == {Reason.OK: RUNS}
        assert [json.loads(outcome.result) for outcome in outcomes] == list(range(RUNS))
        assert await Deadline().reached(
            lambda: _children(box.zygote_pid, SPARES), "the warm children"
        )


async def _children(zygote_pid: int, wanted: int) -> bool:
    return _count(zygote_pid) == wanted


def _count(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
