"""
`make faults`: at least so many kills, one after another at every boundary, and a table of them.

Several labs work side by side, each with its own Redis, vendor and workers. Every kill hits one run
with reads and writes; the lab starts another worker, which becomes the next one to be killed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from core import keys
from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from runs.model import RunRecord
from runs.store import RunStore
from tests.deadline import Deadline
from tests.faults import lab
from tests.faults.counting_vendor import CountingVendor
from tests.faults.lab import Boundary, Strike
from tests.flaky_redis import FlakyRedis
from tests.worker_processes import WorkerProcess, running_worker

TENANT = "acme"
#: What is killed, and how often of a hundred times.
VICTIMS = {"worker": 84, "child": 8, "redis": 8}


def main() -> int:
    """Kill, print the table, and give 1 if anything was done twice or lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--labs", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.monotonic()
    each = -(-asked.kills // asked.labs)
    seeds = [asked.seed * 1_000 + number for number in range(asked.labs)]
    with ProcessPoolExecutor(asked.labs) as pool:
        found = list(pool.map(work, [each] * asked.labs, seeds))
    kills: Counter[str] = sum((one[0] for one in found), Counter())
    ends: Counter[str] = sum((one[1] for one in found), Counter())
    wrong = [problem for one in found for problem in one[2]]
    sys.stdout.write(table(kills, ends, wrong, time.monotonic() - began) + "\n")
    return 1 if wrong else 0


def work(kills: int, seed: int) -> tuple[Counter[str], Counter[str], list[str]]:
    """Run one lab, in a process of its own."""
    return asyncio.run(Lab(seed).run(kills))


class Lab:
    """Kills so many times and keeps what came of it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (which kill comes next is no secret)
        self._seed = seed
        self._kills: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._wrong: list[str] = []

    async def run(self, kills: int) -> tuple[Counter[str], Counter[str], list[str]]:
        """Kill `kills` times."""
        with (
            tempfile.TemporaryDirectory() as place,
            PrivateRedis(Path(place) / "redis") as self._server,
            FlakyRedis(self._server.url.removeprefix("unix://")) as self._wire,
            CountingVendor(Path(place), TENANT) as self._vendor,
        ):
            number = 0
            while self._kills.total() < kills:
                number += 1
                try:
                    await self._kill(f"s{self._seed}n{number}")
                except AssertionError as missing:
                    self._wrong.append(str(missing))
                    break
        return self._kills, self._ends, self._wrong

    async def _kill(self, tag: str) -> None:
        strike = self._strike()
        (victim,) = self._random.choices(list(VICTIMS), list(VICTIMS.values()))
        if victim != "worker":
            strike = Strike(Boundary.REQUEST, self._random.randint(1, lab.CALLS), strike.happened)
        settings = {"lease_s": 2, "log_level": "error", **self._vendor.settings}
        with running_worker(self._wire.url, slots=1, **settings) as doomed:
            async with connect_async(self._server.url) as client:
                with connect(self._server.url) as looking:
                    struck = lab.arm(strike, looking, self._wire, self._vendor)
                run = await RunStore(client).submit(TENANT, lab.request(tag), key_id="k")
            hit = await self._comes_to(struck, run.id, strike)
            if hit:
                how = "after" if strike.happened else "before"
                self._kills[f"{victim:7} {strike.boundary.value:8} {how}"] += 1
                self._strike_down(victim, doomed)
            self._vendor.release(answer=victim != "worker")
            if victim != "worker" or not hit:
                record = await self._ended(run.id)
        if victim == "worker" and hit:
            with running_worker(self._server.url, slots=1, **settings):
                record = await self._ended(run.id)
        self._judge(record, tag, victim, strike)

    async def _comes_to(self, struck: Callable[[], bool], run_id: str, strike: Strike) -> bool:
        """
        Wait for the boundary. False: the run ended without coming to it.

        On a machine that is too busy a worker loses a short lease by itself, and the run goes on
        without its fourth call: no kill of ours, and judged all the same.
        """
        if strike.boundary is Boundary.FINISH:  # the run's end may be seen before the boundary is
            lab.wait_for(struck, strike)
            return True
        async with connect_async(self._server.url) as client:
            store = RunStore(client)

            async def look() -> bool:
                return struck() or (await store.get(TENANT, run_id)).status.terminal

            await Deadline().reached(look, "the boundary", seconds=60)
        return struck()

    def _strike(self) -> Strike:
        boundary = self._random.choice(list(Boundary))
        once = boundary in {Boundary.CLAIM, Boundary.FINISH}
        nth = 1 if once else self._random.randint(1, lab.CALLS)
        return Strike(boundary, nth, self._random.random() < 0.5)

    def _strike_down(self, victim: str, worker: WorkerProcess) -> None:
        if victim == "worker":
            worker.kill()
        elif victim == "child":
            for pid in worker.children_of_zygote():
                os.kill(pid, signal.SIGKILL)
        else:
            assert self._server.pid is not None
            os.kill(self._server.pid, signal.SIGKILL)
            self._server.stop()
            self._server.start()

    async def _ended(self, run_id: str) -> RunRecord:
        async with connect_async(self._server.url) as client:
            store = RunStore(client)

            async def look() -> RunRecord | None:
                record = await store.get(TENANT, run_id)
                return record if record.status.terminal else None

            found = await Deadline().reached(look, f"the end of {run_id}", seconds=60)
        assert found is not None
        return found

    def _judge(self, record: RunRecord, tag: str, victim: str, strike: Strike) -> None:
        self._ends[str(record.reason)] += 1
        with connect(self._server.url) as client:
            rows: Any = client.xrange(keys.tape(record.id))
        kinds = [fields[b"kind"].decode() for _, fields in rows]
        for problem in lab.problems(record, tag, self._vendor, kinds, victim=victim):
            self._wrong.append(f"{victim} {strike}: {problem}")


def table(kills: Counter[str], ends: Counter[str], wrong: list[str], seconds: float) -> str:
    """Write what was killed, how the runs ended, and what is wrong."""
    lines = ["killed  boundary          kills"]
    lines += [f"{name:24} {count:6}" for name, count in sorted(kills.items())]
    lines += [f"{'all':24} {kills.total():6}", "", "runs ended as"]
    lines += [f"{name:24} {count:6}" for name, count in sorted(ends.items())]
    twice = sum("more than once" in one for one in wrong)
    unwritten = sum("no accepted" in one for one in wrong)
    lines += [f"{'all':24} {ends.total():6}"]
    lines += ["", f"{'writes done twice':24} {twice:6}"]
    lines += [f"{'runs lost':24} {sum('did not happen' in one for one in wrong):6}"]
    lines += [f"{'without accepted/finished':24} {unwritten:5}"]
    lines += [f"{'anything else wrong':24} {len(wrong) - twice - unwritten:6}", ""]
    return "\n".join([*lines, *wrong[:50], f"{seconds:.0f} s"])


if __name__ == "__main__":
    sys.exit(main())
