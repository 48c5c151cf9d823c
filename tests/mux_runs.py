"""A run's calls to the stub of Mux over real sockets; instead of a script, a test speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

import orjson

from core.calls import CallRecord
from core.clock import now_ms
from integrations.accounts import Accounts, AccountsFile
from integrations.broker import Broker, RunBroker
from integrations.catalog import Catalog
from integrations.demo import demo_integration
from integrations.stubs import Stubs
from integrations.throttle import Throttle
from integrations.vendor_http import VendorHttp
from ledger.tape import MemoryTape, Tape
from sandbox.calls import Call, EndRun, Reply
from sandbox.limits import Limits
from tenancy.grants import Grants


@dataclass
class MuxRun:
    """One run: `call` makes the next call with positional arguments, as a script would."""

    broker: RunBroker
    tape: MemoryTape
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def answer(
        self, name: str, *arguments: Any, account: str | None = None
    ) -> Reply | EndRun:
        integration, _, function = name.rpartition(".")
        encoded = orjson.dumps(list(arguments))
        return await self.broker.call(
            Call(next(self.numbers), integration, function, account, encoded)
        )

    async def value(self, name: str, *arguments: Any, account: str | None = None) -> Any:
        reply = await self.answer(name, *arguments, account=account)
        assert isinstance(reply, Reply), reply
        assert reply.ok, reply.body
        return orjson.loads(reply.body)

    async def error(self, name: str, *arguments: Any, account: str | None = None) -> dict[str, Any]:
        reply = await self.answer(name, *arguments, account=account)
        assert isinstance(reply, Reply), reply
        assert not reply.ok, reply.body
        error: dict[str, Any] = orjson.loads(reply.body)
        return error

    @property
    def last(self) -> CallRecord:
        return self.broker.calls[-1]

    @property
    def kinds(self) -> list[str]:
        return [entry.kind.value for entry in self.tape.entries]


@asynccontextmanager
async def mux_run(
    stubs: Stubs,
    *,
    grants: Grants | None = None,
    accounts: Accounts | None = None,
    tape: Tape | None = None,
    limits: Limits | None = None,
    tenant: str | None = None,
    throttle: Throttle | None = None,
) -> AsyncIterator[MuxRun]:
    """Open a run whose accounts are the stub's."""
    http = VendorHttp()
    memory = MemoryTape(now_ms)
    run = Broker(whole_catalog(), http, now_ms, throttle).open(
        tenant=tenant,
        run_id="run_test",
        grants=Grants.everything() if grants is None else grants,
        accounts=stub_accounts(stubs) if accounts is None else accounts,
        tape=memory if tape is None else tape,
        limits=limits or Limits(),
    )
    try:
        yield MuxRun(run, memory)
    finally:
        await run.abandon()
        await http.close()


def stub_accounts(stubs: Stubs) -> Accounts:
    """Give the accounts the stub knows."""
    return AccountsFile.parse(stubs.accounts_toml, whole_catalog(), {}).for_tenant(None)


@cache
def whole_catalog() -> Catalog:
    """Give the catalog with the demonstration in it: read once, since nothing changes it."""
    return Catalog.load(extra=[demo_integration()])
