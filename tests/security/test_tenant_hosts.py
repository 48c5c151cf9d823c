"""An account that a tenant wrote leads to public hosts of its vendor, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpcore2
import orjson
import pytest
from redis.asyncio import Redis

from core.clock import now_ms
from integrations.accounts import Accounts, AccountsFile
from integrations.broker import Broker
from integrations.vendor_http import VendorHttp
from ledger.tape import MemoryTape
from sandbox.calls import Call, Reply
from sandbox.limits import Limits
from tenancy.grants import Grants
from tenancy.master_keys import MasterKeys, new_line
from tenancy.vault import Vault
from tenancy.vault_records import Writer
from tests.security.test_egress import PUBLIC, Dial, Names, port_of
from tests.shipped import CATALOG
from worker.vaulted_accounts import VaultedAccounts

pytestmark = pytest.mark.anyio
KEY = "canary-hosts-key"
HOST = "https://happy-otter-123.convex.cloud"


class Plain(httpcore2.AsyncNetworkStream):
    """A connection on which TLS is left out: the server of the test has no certificate."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self.read = stream.read  # type: ignore[method-assign]
        self.write = stream.write  # type: ignore[method-assign]
        self.aclose = stream.aclose  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    async def start_tls(self, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        """Stay as it is."""
        return self


# ruff: noqa: ARG002
class PlainDial(Dial):
    """Connects to the test's server, without TLS."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Note the address and connect."""
        return Plain(await super().connect_tcp(host, port))


async def accounts_of(redis: Redis, fields: dict[str, str]) -> Accounts:
    """Keep a tenant's account of Convex as the vault does, and open it as a worker does."""
    vault = Vault(redis, MasterKeys.parse(new_line("one")))
    await vault.set("acme", "convex", "default", fields, Writer.TENANT)
    return await VaultedAccounts(vault, AccountsFile({}), CATALOG).for_tenant("acme")


@asynccontextmanager
async def error_of(accounts: Accounts, http: VendorHttp) -> AsyncIterator[dict[str, Any]]:
    """Call Convex with the account and give the error that the script sees."""
    run = Broker(CATALOG, http, now_ms).open(
        tenant="acme",
        run_id="run_test",
        grants=Grants.everything(),
        accounts=accounts,
        tape=MemoryTape(now_ms),
        limits=Limits(),
    )
    reply = await run.call(Call(1, "convex", "list_tables", None, b"[{}]"))
    assert isinstance(reply, Reply)
    assert not reply.ok
    yield orjson.loads(reply.body)
    await http.close()


@pytest.mark.parametrize(
    "addresses",
    [
        *(["169.254.169.254"], ["127.0.0.1"], ["::1"], ["10.0.0.1"], ["fd00:ec2::254"]),
        *([PUBLIC, "127.0.0.1"], ["::ffff:169.254.169.254"], ["64:ff9b::a9fe:a9fe"], ["0.0.0.0"]),  # noqa: S104
    ],
)
async def test_a_name_that_fits_and_resolves_here_is_not_dialled(
    redis_async: Redis, addresses: list[str]
) -> None:
    """The pattern allows the name, the address is refused after resolution; nothing is sent."""
    accounts = await accounts_of(redis_async, {"deployment_url": HOST, "deploy_key": KEY})
    dial = PlainDial(1)
    async with error_of(accounts, VendorHttp(resolve=Names([addresses]), dial=dial)) as error:
        assert error["code"] == "address_refused"
        assert KEY not in str(error)
    assert dial.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(redis_async: Redis, status: int) -> None:
    """A vendor that sends a tenant's call to a metadata service gets one request and no more."""
    seen: list[bytes] = []

    async def sends_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 {status} X\r\nlocation: http://169.254.169.254/latest\r\n"
        writer.write(f"{head}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    accounts = await accounts_of(redis_async, {"deployment_url": HOST, "deploy_key": KEY})
    async with await asyncio.start_server(sends_away, "127.0.0.1", 0) as server:
        dial = PlainDial(port_of(server))
        async with error_of(accounts, VendorHttp(resolve=Names([[PUBLIC]]), dial=dial)) as error:
            assert error["status"] == status
    assert set(dial.asked) == {PUBLIC}
    assert all(b"host: happy-otter-123.convex.cloud" in one.lower() for one in seen)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "https://169.254.169.254", "https://[::1]", "https://localhost"]
)
async def test_an_address_that_came_past_all_checks_makes_no_account(
    redis_async: Redis, url: str
) -> None:
    """Written without the checks of API and desk: the worker checks once more, and has none."""
    accounts = await accounts_of(redis_async, {"deployment_url": url, "deploy_key": KEY})
    assert accounts.names("convex") == []
