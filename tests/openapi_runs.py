"""Imports a document, serves a stand-in made of it, and calls every function over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.types import ASGIApp

from core.clock import now_ms
from integrations.accounts import AccountsFile
from integrations.broker import Broker, RunBroker
from integrations.catalog import Catalog
from integrations.openapi import Imported, import_document
from integrations.openapi.reading import read_document
from integrations.pack import Pack
from integrations.stubs.openapi import OpenApiStub
from integrations.stubs.server import _listen, _Quiet
from integrations.vendor_http import VendorHttp
from ledger.tape import MemoryTape
from sandbox.calls import Call, Reply
from sandbox.limits import Limits
from tenancy.grants import Grants

DOCUMENTS = Path(__file__).parent / "openapi"


@dataclass
class Service:
    """An imported document with a run that can call its stand-in."""

    imported: Imported
    catalog: Catalog
    stub: OpenApiStub
    run: RunBroker
    seq: int = 0

    @property
    def pack(self) -> Pack:
        pack = self.catalog.integrations[self.imported.name].pack
        assert pack is not None
        return pack

    async def reply(self, function: str, arguments: dict[str, Any]) -> Reply:
        self.seq += 1
        reply = await self.run.call(
            Call(self.seq, self.imported.name, function, None, orjson.dumps([arguments]))
        )
        assert isinstance(reply, Reply), reply
        return reply

    async def value(self, function: str, arguments: dict[str, Any]) -> Any:
        reply = await self.reply(function, arguments)
        assert reply.ok, reply.body
        return orjson.loads(reply.body)

    async def error(self, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
        reply = await self.reply(function, arguments)
        assert not reply.ok, reply.body
        error: dict[str, Any] = orjson.loads(reply.body)
        return error

    async def call_all(self) -> dict[str, dict[str, Any]]:
        """Call every function with its own example; give the errors by function."""
        errors = {}
        for one in self.catalog.integrations[self.imported.name].functions:
            assert one.spec is not None
            reply = await self.reply(one.name, one.spec.example.arguments)
            if not reply.ok:
                errors[one.name] = orjson.loads(reply.body)
        return errors


def imported(raw: bytes, name: str = "vendor", auth: str | None = None) -> Imported:
    """Import a document for a made-up address."""
    return import_document(raw, name=name, host="api.vendor.example", auth=auth)


def loaded(made: Imported, directory: Path) -> Catalog:
    """Write the two files and load them as an operator's catalog would."""
    (directory / f"{made.name}.yaml").write_text(made.yaml)
    (directory / f"{made.name}.md").write_text(made.guide)
    return Catalog.load(directory)


@asynccontextmanager
async def served(
    raw: bytes, directory: Path, *, name: str = "vendor", auth: str | None = None
) -> AsyncIterator[Service]:
    """Import, load and serve a document."""
    made = imported(raw, name, auth)
    catalog = loaded(made, directory)
    stub = OpenApiStub(read_document(raw), auth=auth)
    http = VendorHttp()
    async with serving(stub.app) as url:
        fields = stub.accounts(url)["default"]
        toml = f"[{name}.default]\n" + "".join(f'{key} = "{one}"\n' for key, one in fields.items())
        run = Broker(catalog, http, now_ms).open(
            tenant=None,
            run_id="run_test",
            grants=Grants.everything(),
            accounts=AccountsFile.parse(toml, catalog, {}).for_tenant(None),
            tape=MemoryTape(now_ms),
            limits=Limits(calls=2_000, wall_ms=600_000),
        )
        try:
            yield Service(made, catalog, stub, run)
        finally:
            await run.abandon()
            await http.close()


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on this machine and give its address."""
    with _listen() as listener:
        config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
            timeout_graceful_shutdown=1, loop="asyncio", interface="asgi3",
        )  # fmt: skip
        server = _Quiet(config)
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
