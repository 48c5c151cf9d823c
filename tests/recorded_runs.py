"""Runs recorded by a real service, exported, with everything they spoke to gone afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import orjson

from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from runs.model import RunRecord, RunRequest
from runs.store import RunStore
from tests.api_server import ApiServer
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor
from tests.sequencing import taking
from tests.worker_processes import running_worker

TENANT = "acme"
#: Reads, writes, refusals, errors that are caught, calls in flight together: 50 calls.
FIFTY = """
local till = app.integrations.till
local sum = 0
for n = 1, 20 do
  sum = sum + till.price({ tag = ("x"):rep(n) }).value
  print("price", n, sum, os.time() > 0, math.random(1000))
end
for n = 1, 5 do
  local ok, problem = pcall(till.price, { wrong = n })
  print(ok, problem.code, tostring(problem))
end
local paid = parallel.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, function(n)
  local first = till.pay_once({ tag = "p" .. n })
  local second = till.price({ tag = "q" .. n })
  print(n, first.tag, second.tag)
  return { first.value, second.value }
end, { concurrency = 7 })
local seen = {}
for n = 1, 4 do seen["k" .. n] = till.pay({ tag = "w" .. n }).tag end
local page = docs.read("till")
return { sum = sum, paid = paid, seen = seen, page = #page, input = input, clock = os.clock() > 0 }
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """One ended run: its record, its bundle from the service, and where the archive is."""

    record: RunRecord
    bundle: Path
    archive: Path

    def lines(self) -> list[dict[str, object]]:
        """Read the bundle's lines."""
        return [orjson.loads(line) for line in self.bundle.read_bytes().splitlines()]


@dataclass
class Recorder:
    """Records runs in `directory`. `settings` are more of the worker's."""

    directory: Path
    sequenced: bool = True
    settings: Mapping[str, object] = field(default_factory=dict)

    def record(self, *requests: RunRequest) -> list[Exported]:
        """Execute runs, export them, and end everything that they needed."""
        archive = self.directory / "ledger"
        archive.mkdir()
        with (
            PrivateRedis(self.directory / "redis") as server,
            CountingVendor(self.directory, TENANT) as vendor,
        ):
            settings = {"slots": 4, "lease_s": 30, **vendor.settings, **self.settings}
            with running_worker(server.url, **settings):
                records = asyncio.run(_execute(server.url, requests))
            if self.sequenced:
                with connect(server.url) as client, taking(client, archive) as one:
                    one.drain()
            with ApiServer(server.url, ledger_dir=archive) as api, api.client(TENANT) as client:
                paths = [self._export(client, one.id) for one in records]
        return [Exported(*found, archive) for found in zip(records, paths, strict=True)]

    def _export(self, client: httpx2.Client, run: str) -> Path:
        answer = client.get(f"/v1/runs/{run}/bundle")
        assert answer.status_code == 200, answer.text
        path = self.directory / f"{run}.jsonl"
        path.write_bytes(answer.content)
        return path


async def _execute(url: str, requests: Sequence[RunRequest]) -> list[RunRecord]:
    async with connect_async(url) as redis:
        store = RunStore(redis)
        ids = [(await store.submit(TENANT, one, key_id="key")).id for one in requests]
        return [await _ended(store, one) for one in ids]


async def _ended(store: RunStore, run: str) -> RunRecord:
    async def look() -> RunRecord | None:
        record = await store.get(TENANT, run)
        return record if record.status.terminal else None

    found = await Deadline().reached(look, "the end of a run", seconds=30)
    assert found is not None
    return found
