"""What a call costs: from Lua to a vendor and back, beside the same request sent bare."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from redis.asyncio import Redis

from benchmarks import vendor
from benchmarks.figures import Row, median, percentile, spread
from core import keys
from core.clock import now_ms
from core.ids import new_id
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from integrations.accounts import AccountsFile
from integrations.broker import Broker
from integrations.catalog import Catalog
from integrations.vendor_http import VendorHttp
from ledger.redis_tape import RedisTape
from runs.endings import Ending
from runs.redis_throttle import RedisThrottle
from runs.spec import RunSpec
from sandbox.calls import Call, EndRun, OnCall, OnOutput, Reply, StartRequest
from sandbox.limits import Limits
from sandbox.outcome import Outcome, Reason
from sandbox.parking import Parking
from sandbox.supervisor import Sandbox
from tenancy.grants import Grants
from worker.event_writer import EventWriter
from worker.execute import execute
from worker.outbox import Outbox

ROUNDS = 7
CALLS = 300
_PACKS = Path(__file__).with_name("packs")
_SCRIPT = f"""
local get = app.integrations.bench.get_asset
for n = 1, {CALLS} do
  local asset = get({{ asset_id = "asset-" .. n }})
  assert(asset.data.status == "ready")
end
"""


class _Watched(Sandbox):
    """A sandbox that notes when each call of the script arrives."""

    arrived: Sequence[float] = ()

    async def run(
        self,
        request: StartRequest,
        on_call: OnCall,
        on_output: OnOutput | None = None,
        cancel: asyncio.Event | None = None,
        parking: Parking | None = None,
    ) -> Outcome:
        arrived = self.arrived = []

        async def noted(call: Call) -> Reply | EndRun:
            arrived.append(time.perf_counter())
            return await on_call(call)

        return await super().run(request, noted, on_output, cancel, parking)


@dataclass
class Worker:
    """The parts of a worker, put together as it does."""

    redis: Redis
    url: str
    sandbox: _Watched
    broker: Broker
    outbox: Outbox
    accounts: AccountsFile = field(default_factory=lambda: AccountsFile({}))

    async def calls_ms(self) -> list[float]:
        """Run the script; give the times from the arrival of one call to that of the next."""
        spec = RunSpec(
            run_id=new_id("run"),
            tenant="bench",
            name="bench",
            script=_SCRIPT.encode(),
            input=b"null",
            limits=Limits(calls=CALLS),
            seed=1,
            clock_ms=now_ms(),
            grants=Grants.everything(),
        )
        await self.redis.xadd(keys.tape(spec.run_id), {"kind": "accepted"}, id="1-0")
        loop = asyncio.get_running_loop()
        ending = await execute(
            spec,
            sandbox=self.sandbox,
            broker=self.broker,
            accounts=self.accounts.for_tenant("bench"),
            tape=RedisTape(self.redis, spec.run_id, 2),
            watch=EventWriter(spec.run_id, loop.call_later, self.outbox.send),
        )
        assert isinstance(ending, Ending)
        assert ending.reason is Reason.OK, ending
        assert await self.redis.xlen(keys.tape(spec.run_id)) == 1 + 2 * CALLS
        at = self.sandbox.arrived
        return [(after - before) * 1000 for before, after in itertools.pairwise(at)]


@asynccontextmanager
async def worker_at(url: str) -> AsyncIterator[Worker]:
    catalog = Catalog.load(operator=_PACKS)
    toml = f'[tenants.bench.bench.default]\ntoken = "bench-token-000001"\nurl = "{url}"\n'
    http = VendorHttp()
    with tempfile.TemporaryDirectory() as home, PrivateRedis(Path(home)) as server:
        async with connect_async(server.url) as redis, _Watched(2) as sandbox:
            broker = Broker(catalog, http, now_ms, RedisThrottle(redis))
            outbox = Outbox(redis, "bench", lambda *_: None)
            sending = asyncio.create_task(outbox.run())
            try:
                accounts = AccountsFile.parse(toml, catalog, {})
                yield Worker(redis, url, sandbox, broker, outbox, accounts)
            finally:
                sending.cancel()
                await http.close()


async def _bare_ms(client: httpx2.AsyncClient, url: str) -> list[float]:
    took = []
    headers = {"Authorization": "Bearer bench-token-000001"}
    for number in range(CALLS):
        began = time.perf_counter()
        address = f"{url}/v1/assets/asset-{number}?fields=all"
        answer = await client.get(address, headers=headers)
        status = answer.json()["data"]["status"]
        took.append((time.perf_counter() - began) * 1000)
        assert status == "ready"
    return took


async def _rounds(worker: Worker) -> tuple[list[float], list[float]]:
    ours, bare = [], []
    async with httpx2.AsyncClient(trust_env=False) as client:
        await _bare_ms(client, worker.url)
        await worker.calls_ms()
        for _ in range(ROUNDS):
            bare.append(percentile(await _bare_ms(client, worker.url), 0.5))
            ours.append(percentile(await worker.calls_ms(), 0.5))
    return ours, bare


async def overhead() -> list[Row]:
    """Measure a whole call of a script, in the loop and with the parts of a worker."""
    with vendor.served() as url:
        async with worker_at(url) as worker:
            ours, bare = await _rounds(worker)
    ratio = median([a / b for a, b in zip(ours, bare, strict=True)])
    added = [a - b for a, b in zip(ours, bare, strict=True)]
    peer = "bare pooled httpx2 call, same vendor: " + spread(bare, "ms")
    return [
        Row("one call from Lua and back, tape and throttle in Redis, p50", spread(ours, "ms"),
            peer, f"{ratio:.1f}", ""),
        Row("added by a call, p50", spread(added, "ms"), "", "", "<= 1.5 ms"),
    ]  # fmt: skip
