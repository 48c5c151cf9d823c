"""
Two hosts on one Redis, and one of them cut off: `python -m tests.faults.two_hosts`.

The hosts are network namespaces; Redis and the vendor are on this one. The cable of the second is
pulled for `--cut-s` seconds while runs come in all the time: its packets are lost and nobody is
told. Its runs go on at the first host over their tapes. Then the cable is put back.

Each run reads, pays once with a key and once without one, with a pause between. Paid is counted at
the vendor. Prints a table; gives 1 if a run was lost or anything was paid twice.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import redis

from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from runs.model import RunRequest
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor
from tests.hosts import Network
from tests.worker_processes import WorkerProcess

TENANT = "acme"
SCRIPT = """
local till = app.integrations.till
till.price({ tag = input.tag .. "-read" })
sleep(0.3)
till.pay_once({ tag = input.tag .. "-key" })
sleep(0.3)
till.pay({ tag = input.tag .. "-bare" })
return input.tag
"""
#: Seconds of traffic before the cut and after the healing.
_AROUND_S = 10.0
_SLOTS = 16
_LEASE_S = 12
_END_S = 120.0


@dataclass(slots=True)
class Told:
    """What became of one run. Times are Unix seconds; `worker` is who began its last attempt."""

    tag: str
    created: float
    ended: float
    reason: str
    attempts: int


def main() -> int:
    """Cut, heal, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.two_hosts", description=__doc__)
    parser.add_argument("--cut-s", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=15.0, help="runs a second")
    parser.add_argument("--lease-s", type=int, default=_LEASE_S)
    asked = parser.parse_args()
    with Lab(asked.lease_s) as lab:
        asyncio.run(lab.run(asked.rate, asked.cut_s))
        wrong = lab.problems()
        sys.stdout.write(lab.table(asked.cut_s) + "\n")
    for one in wrong:
        sys.stdout.write(f"WRONG: {one}\n")
    return 1 if wrong else 0


class Lab:
    """The two hosts, what they work for, and what came of it."""

    def __init__(self, lease_s: int) -> None:
        self._lease_s = lease_s
        self._stack = ExitStack()
        self.told: list[Told] = []
        self.cut_at = self.healed_at = self.back_at = 0.0
        self.held = 0

    def __enter__(self) -> Self:
        """Start everything."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        enter = self._stack.enter_context
        place = Path(enter(tempfile.TemporaryDirectory()))
        self.network = enter(Network(2))
        self.server = enter(PrivateRedis(place / "redis"))
        self.client = enter(connect(self.server.url))
        url = listen(self.client, self.network.address)
        self.vendor = enter(CountingVendor(place, TENANT, address=self.network.address))
        for host in self.network.hosts:
            host.lead(self.vendor.port, self.network.address)
        settings = {"lease_s": self._lease_s, "log_level": "error", **self.vendor.settings}
        self.workers = [
            WorkerProcess(url, "--slots", str(_SLOTS), host=host, **settings)
            for host in self.network.hosts
        ]
        for worker in self.workers:
            self._stack.callback(worker.kill)
            Deadline().until(lambda one=worker: one.name(self.client), "a worker", seconds=30)  # type: ignore[misc]
        self.names = [str(worker.name(self.client)) for worker in self.workers]

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._stack.close()

    async def run(self, rate: float, cut_s: float) -> None:
        """Submit all the time; cut the second host off in the middle of it."""
        async with connect_async(self.server.url) as pool:
            store = RunStore(pool)
            ids: dict[str, str] = {}
            began = time.monotonic()
            cut = healed = False
            while (now := time.monotonic() - began) < 2 * _AROUND_S + cut_s:
                if not cut and now >= _AROUND_S:
                    self.held = self._held_by_second()
                    self.network.hosts[1].cut()
                    cut, self.cut_at = True, time.time()
                if not healed and now >= _AROUND_S + cut_s:
                    self.network.hosts[1].heal()
                    healed, self.healed_at = True, time.time()
                if healed and not self.back_at and self._held_by_second():
                    self.back_at = time.time()
                tag = f"r{len(ids)}"
                request = RunRequest(script=SCRIPT, input={"tag": tag})
                ids[(await store.submit(TENANT, request, key_id="k")).id] = tag
                await asyncio.sleep(max(0.0, began + len(ids) / rate - time.monotonic()))
            for run_id, tag in ids.items():
                self.told.append(await self._end_of(store, run_id, tag))

    async def _end_of(self, store: RunStore, run_id: str, tag: str) -> Told:
        async def look() -> Any:
            record = await store.get(TENANT, run_id)
            return record if record.ended_ms is not None else None

        record = await Deadline().reached(look, f"the end of {run_id}", seconds=_END_S)
        return Told(
            tag,
            record.created_ms / 1000,
            record.ended_ms / 1000,
            str(record.reason),
            record.attempt,
        )

    def _held_by_second(self) -> int:
        count: Any = self.client.scard(f"rq:worker:{self.names[1]}:executions")
        alive = self.client.hget(f"rq:worker:{self.names[1]}", "state")
        return int(count) if alive else 0

    def problems(self) -> list[str]:
        """Say what is wrong; nothing if all is as promised."""
        done = self.vendor.done
        found = [f"paid {count} times: {tag}" for tag, count in done.items() if count > 1]
        for one in self.told:
            paid = [done[f"{one.tag}-{kind}"] for kind in ("key", "bare")]
            if one.reason == Reason.OK and paid != [1, 1]:
                found.append(f"{one.tag} ended as ok and paid {paid}")
            elif one.reason not in {Reason.OK, Reason.EFFECT_UNKNOWN}:
                found.append(f"{one.tag} ended as {one.reason}")
        return found

    def table(self, cut_s: float) -> str:
        """Give the figures."""
        reasons = Counter(one.reason for one in self.told)
        again = [one for one in self.told if one.attempts > 1]
        over = max((one.ended for one in again), default=self.cut_at) - self.cut_at
        rows = [
            (f"cut off for {cut_s:.0f} s, lease", f"{self._lease_s} s"),
            ("runs submitted", len(self.told)),
            ("runs that ended", sum(reasons.values())),
            *((f"... as {reason}", count) for reason, count in reasons.most_common()),
            ("runs in the second host's hands when it was cut off", self.held),
            ("runs that went on elsewhere", len(again)),
            ("the last of these ended after the cut", f"{over:.1f} s"),
            ("payments", sum(self.vendor.done.values())),
            ("paid more than once", sum(count > 1 for count in self.vendor.done.values())),
            ("the second host has runs again after the healing", self._back()),
        ]
        for name, since, until in (
            ("before the cut", 0.0, self.cut_at),
            ("while cut off", self.cut_at, self.healed_at),
            ("after the healing", self.healed_at, float("inf")),
        ):
            rows.append((f"submit to end, p50 / p99, submitted {name}", self._times(since, until)))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"| {name:{width}} | {value!s:>17} |" for name, value in rows)

    def _back(self) -> str:
        return f"{self.back_at - self.healed_at:.1f} s" if self.back_at else "not yet"

    def _times(self, since: float, until: float) -> str:
        took = sorted(one.ended - one.created for one in self.told if since <= one.created < until)
        if not took:
            return "-"
        return f"{took[len(took) // 2]:.2f} / {took[int(len(took) * 0.99)]:.2f} s"


def listen(client: redis.Redis, address: str) -> str:
    """Let a private Redis listen at an address of this machine too; give its URL there."""
    client.config_set("protected-mode", "no")
    client.config_set("bind", address)
    for port in range(20_000, 20_100):
        try:
            client.config_set("port", port)
        except redis.ResponseError:  # somebody else has it
            continue
        return f"redis://{address}:{port}"
    raise AssertionError("no port is free")


if __name__ == "__main__":
    sys.exit(main())
