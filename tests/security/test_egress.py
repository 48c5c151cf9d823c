"""No request reaches a network that is not the internet, whatever a name server answers."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore2
import pytest

from integrations.base_url import tenant_base_url
from integrations.egress import is_public, system_resolver
from integrations.pack_wire import Timeouts
from integrations.request import VendorRequest
from integrations.vendor_http import Answer, NoAnswer, NoAnswerKind, Progress, VendorHttp
from tests.deadline import Deadline

PUBLIC = "93.184.215.14"


# ruff: noqa: ARG002
@dataclass
class Dial(httpcore2.AsyncNetworkBackend):
    """Notes which address was asked for, and connects to a server on this machine instead."""

    port: int
    asked: list[str] = field(default_factory=list)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append(host)
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self.port)


@dataclass
class Names:
    """A name server: each question gets the next answer, the last one for ever."""

    answers: list[list[str]]
    questions: int = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        answer = self.answers[min(self.questions, len(self.answers) - 1)]
        self.questions += 1
        return answer


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close, so that the next one has to connect again."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    await writer.drain()
    writer.close()


async def get(http: VendorHttp, url: str, *, local: bool = False) -> Answer:
    """Send one GET."""
    return await http.exchange(
        VendorRequest("GET", url, local=local),
        Timeouts(),
        within_s=5,
        max_bytes=1000,
        accepts=lambda status: status == 200,
        progress=Progress(),
    )


def port_of(server: asyncio.Server) -> int:
    """Give where a server listens."""
    port: int = server.sockets[0].getsockname()[1]
    return port


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),  # noqa: S104
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "198.18.0.1"),
        *("192.0.2.1", "192.88.99.1", "::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0"),
        *("fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1"),
        *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *("64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "100::1"),
    ],
)
def test_addresses_that_are_not_the_internet(address: str) -> None:
    """Loopback, private, link-local, shared, multicast, metadata, and those carrying one inside."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet(address: str) -> None:
    """Vendors can still be reached, by either protocol."""
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["10.1.2.3"], ["::1"], [PUBLIC, "169.254.169.254"], ["::ffff:127.0.0.1"], []],
)
async def test_a_forbidden_answer_is_never_dialled(answer: list[str]) -> None:
    """One bad address among good ones is enough: which one is taken is not left to chance."""
    dial = Dial(1)
    http = VendorHttp(resolve=Names([answer]), dial=dial)
    with pytest.raises(NoAnswer) as caught:
        await get(http, "https://evil.example/")
    assert (caught.value.kind, caught.value.sent) == (NoAnswerKind.FORBIDDEN, False)
    assert dial.asked == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "http://2130706433:1/"),
        *("http://0x7f000001:1/", "http://127.1:1/", "http://[::ffff:127.0.0.1]:1/"),
    ],
)
async def test_no_spelling_of_this_machine_gets_through(url: str) -> None:
    """The address that comes out of the system's own resolver is what is checked."""
    dial = Dial(1)
    with pytest.raises(NoAnswer) as caught:
        await get(VendorHttp(dial=dial), url)
    assert caught.value.kind in {NoAnswerKind.FORBIDDEN, NoAnswerKind.UNREACHABLE}
    assert dial.asked == []


async def test_silent_name_servers_hold_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread waits for each of their names, long after its caller left: others have threads."""
    hears, asked = threading.Event(), []

    def ask(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host.startswith("silent"):
            assert hears.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, port))]

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    names = [f"silent-{number}.example" for number in range(64)]
    silent = [asyncio.create_task(system_resolver(one, 443)) for one in names]

    async def all_asked() -> bool:
        return set(names) <= set(asked)

    try:
        await Deadline().reached(all_asked, "a thread for each silent name")
        async with asyncio.timeout(10):
            assert await system_resolver("good.example", 443) == [PUBLIC]
            assert await asyncio.to_thread(lambda: "the loop's own threads") is not None
    finally:
        hears.set()
        await asyncio.gather(*silent)


async def test_a_rebound_name_changes_nothing() -> None:
    """The checked address is the one connected to; the next connection is checked anew."""
    async with await asyncio.start_server(hello, "127.0.0.1", 0) as server:
        names, dial = Names([[PUBLIC], ["127.0.0.1"]]), Dial(port_of(server))
        http = VendorHttp(resolve=names, dial=dial)
        assert (await get(http, "http://rebind.example/")).status == 200
        assert (names.questions, dial.asked) == (1, [PUBLIC])
        with pytest.raises(NoAnswer) as caught:
            await get(http, "http://rebind.example/")
        assert caught.value.kind is NoAnswerKind.FORBIDDEN
        assert (names.questions, dial.asked) == (2, [PUBLIC])
        await http.close()


async def test_tls_still_asks_for_the_name() -> None:
    """The certificate is checked for the name, though the connection goes to an address."""
    seen: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, name, __: seen.append(name)
    async with await asyncio.start_server(hello, "127.0.0.1", 0, ssl=context) as server:
        http = VendorHttp(resolve=Names([[PUBLIC]]), dial=Dial(port_of(server)))
        with pytest.raises(NoAnswer):
            await get(http, "https://vendor.example/")
        await http.close()
    assert seen == ["vendor.example"]


async def test_this_machine_is_for_the_operator_in_development_only() -> None:
    """A stub can be called, by accounts that say so, and never in production."""
    async with await asyncio.start_server(hello, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{port_of(server)}/"
        http = VendorHttp()
        assert (await get(http, url, local=True)).status == 200
        for allowed, local in ((True, False), (False, True)):
            with pytest.raises(NoAnswer) as caught:
                await get(VendorHttp(allow_local=allowed), url, local=local)
            assert caught.value.kind is NoAnswerKind.FORBIDDEN
        await http.close()


async def test_local_means_local() -> None:
    """An operator's address on this machine cannot be led elsewhere by a name server."""
    dial = Dial(1)
    http = VendorHttp(resolve=Names([[PUBLIC]]), dial=dial)
    with pytest.raises(NoAnswer) as caught:
        await get(http, "http://localhost:1/", local=True)
    assert caught.value.kind is NoAnswerKind.FORBIDDEN


PATTERN = r"https://[a-z0-9-]+\.convex\.cloud"


@pytest.mark.parametrize(
    "url",
    [
        *("https://evil.example", "https://a.convex.cloud.evil.example", "http://a.convex.cloud"),
        *("https://a.convex.cloud/x", "https://a.convex.cloud:444", "https://u@a.convex.cloud"),
        *("https://a.convex.cloud?x", "https://127.0.0.1", "http://127.0.0.1:1", "a.convex.cloud"),
        *("https://a.convex.cloud\n", "https://a.b.convex.cloud", "https://A\u0130.convex.cloud"),
    ],
)
def test_a_tenants_address_must_match_as_a_whole(url: str) -> None:
    """The pattern of the pack is the only way out for what a tenant wrote."""
    with pytest.raises(ValueError, match=r"must|has no usable"):
        tenant_base_url(url, PATTERN)


def test_a_tenants_address_that_fits() -> None:
    """It is taken without its last slash; without a pattern none is taken at all."""
    assert tenant_base_url("https://happy-otter-123.convex.cloud/", PATTERN) == (
        "https://happy-otter-123.convex.cloud"
    )
    with pytest.raises(ValueError, match="fixed"):
        tenant_base_url("https://happy-otter-123.convex.cloud", None)
