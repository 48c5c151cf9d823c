"""A receiver of callbacks on this machine: it keeps what it gets and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from triggers.verification import standard_webhooks
from triggers.verification.delivery import Delivery

#: Gives the whole answer to a request, as bytes; None answers nothing and keeps the line open.
Answer = Callable[["Got"], bytes | None]


@dataclass(frozen=True, slots=True)
class Got:
    """One request that came."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def id(self) -> str:
        """Give the id of the message."""
        return Delivery(self.headers, self.body).header("webhook-id")

    @property
    def data(self) -> dict[str, object]:
        """Give what the message says."""
        found: dict[str, object] = orjson.loads(self.body)["data"]
        return found

    def check(self, *secrets: str) -> int:
        """Verify the signature as a receiver does, at the time the request names."""
        delivery = Delivery(self.headers, self.body)
        at_s = int(delivery.header("webhook-timestamp"))
        return standard_webhooks.verify(delivery, secrets, now_s=at_s)


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """Make an answer."""
    lines = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(slots=True)
class Receiver:
    """
    What came, in order; `answer` may be changed at any time.

    `waiting` counts requests that get no answer, `under_way` those that are about to get one, after
    `pause_s`.
    """

    url: str
    answer: Answer = lambda _: status(204)
    got: list[Got] = field(default_factory=list)
    waiting: int = 0
    under_way: int = 0
    pause_s: float = 0.0


@asynccontextmanager
async def receiver(answer: Answer | None = None) -> AsyncIterator[Receiver]:
    """Listen on a free port of this machine until the end of the block."""
    made = Receiver("")
    if answer is not None:
        made.answer = answer
    open_lines: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_lines.add(writer)
        try:
            got = await _read(reader)
            made.got.append(got)
            made.under_way += 1
            await asyncio.sleep(made.pause_s)
            reply = made.answer(got)
            made.under_way -= 1
            if reply is None:
                made.waiting += 1
                await reader.read()
                made.waiting -= 1
                return
            writer.write(reply)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            open_lines.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made
    finally:
        server.close()
        for writer in list(open_lines):
            writer.close()
        await server.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Got:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = tuple(
        (name.lower(), value.strip())
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    )
    length = int(dict(headers).get("content-length", "0"))
    return Got(head[0].split(" ")[1], headers, await reader.readexactly(length))
