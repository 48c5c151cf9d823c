"""Connections to vendors: how many at once, and used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from integrations.pack_wire import Timeouts
from integrations.request import VendorRequest
from integrations.vendor_http import Answer, NoAnswer, NoAnswerKind, Progress, VendorHttp
from tests.deadline import Deadline

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Vendor:
    """Answers when it is allowed to, and counts what comes."""

    allowed: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    waiting: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other."""
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.waiting += 1
                await self.allowed.wait()
                self.waiting -= 1
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def ask(self, http: VendorHttp, *, within_s: float = 20) -> Answer:
        """Send it one request."""
        return await http.exchange(
            VendorRequest("GET", f"http://127.0.0.1:{self.port}/", local=True),
            Timeouts(),
            within_s=within_s,
            max_bytes=100,
            accepts=lambda status: status == 200,
            progress=Progress(),
        )


@asynccontextmanager
async def serving() -> AsyncIterator[Vendor]:
    """Serve on this machine."""
    vendor = Vendor()
    async with await asyncio.start_server(vendor.serve, "127.0.0.1", 0, backlog=512) as server:
        vendor.port = server.sockets[0].getsockname()[1]
        yield vendor


async def test_as_many_calls_at_once_as_there_may_be_connections() -> None:
    """200 wait for a vendor side by side; then each connection is used again."""
    async with serving() as vendor:
        http = VendorHttp(200)
        calls = [asyncio.create_task(vendor.ask(http)) for _ in range(200)]
        await Deadline().reached(lambda: _has(vendor, 200), "200 calls at the vendor", seconds=40)
        vendor.allowed.set()
        assert {one.status for one in await asyncio.gather(*calls)} == {200}

        await asyncio.gather(*(vendor.ask(http) for _ in range(200)))

        assert vendor.connections == 200
        await http.close()


@pytest.mark.parametrize("most", [3, 30])
async def test_further_calls_wait_for_a_connection(most: int) -> None:
    """The bound holds over all pools together; who waits longer than its time is told so."""
    async with serving() as vendor:
        http = VendorHttp(most)
        calls = [asyncio.create_task(vendor.ask(http)) for _ in range(most)]
        await Deadline().reached(lambda: _has(vendor, most), "calls at the vendor")

        with pytest.raises(NoAnswer) as refused:
            await vendor.ask(http, within_s=0.2)

        assert (refused.value.kind, refused.value.sent) == (NoAnswerKind.TIMEOUT, False)
        assert vendor.connections == most
        vendor.allowed.set()
        await asyncio.gather(*calls)
        await http.close()


async def test_one_call_after_the_other_uses_one_connection() -> None:
    """What is called now and then does not spread over pools."""
    async with serving() as vendor:
        vendor.allowed.set()
        http = VendorHttp(200)
        for _ in range(30):
            await vendor.ask(http)

        assert vendor.connections == 1
        await http.close()


async def _has(vendor: Vendor, count: int) -> bool:
    return vendor.waiting == count
