"""Starts the stubs on this machine and says how to use them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvicorn
from starlette.types import Receive, Scope, Send

from integrations.stubs.agora import AgoraStub
from integrations.stubs.convex import ConvexStub
from integrations.stubs.faults import Faulty
from integrations.stubs.heygen import HeyGenStub
from integrations.stubs.mixpeek import MixpeekStub
from integrations.stubs.mux import MuxStub
from integrations.stubs.stub import Stub

#: Every stub there is, by the name of its integration.
STUBS: dict[str, Callable[[], Stub]] = {
    "mux": MuxStub,
    "agora": AgoraStub,
    "heygen": HeyGenStub,
    "convex": ConvexStub,
    "mixpeek": MixpeekStub,
}

#: Seconds an asset of Mux stays `preparing` when the stubs are served by themselves.
_ENCODES_S = 2.0


@dataclass(frozen=True, slots=True)
class Served:
    """One stub that is running: where, the application, and its counters and faults."""

    url: str
    stub: Stub
    faults: Faulty


@dataclass(frozen=True, slots=True)
class Stubs:
    """The stubs that are running, each at a port of its own, by the name of its integration."""

    served: Mapping[str, Served]

    def __getitem__(self, integration: str) -> Served:
        return self.served[integration]

    @property
    def base_urls(self) -> dict[str, str]:
        """Give the address of each."""
        return {name: one.url for name, one in self.served.items()}

    @property
    def accounts_toml(self) -> str:
        """Give the text of an accounts file for all of them."""
        sections = [
            "\n".join([f"[{name}.{account}]", *(f'{key} = "{one}"' for key, one in fields.items())])
            for name, served in self.served.items()
            for account, fields in served.stub.accounts(served.url).items()
        ]
        head = "# Accounts of the stubs on this machine. Nothing here is a real secret."
        return "\n\n".join([head, *sections]) + "\n"

    @property
    def mux(self) -> MuxStub:
        """Give the stub of Mux."""
        return cast("MuxStub", self.served["mux"].stub)

    @property
    def mux_faults(self) -> Faulty:
        """Give the counters and faults of the stub of Mux."""
        return self.served["mux"].faults

    @property
    def heygen(self) -> HeyGenStub:
        """Give the stub of HeyGen."""
        return cast("HeyGenStub", self.served["heygen"].stub)

    @property
    def convex(self) -> ConvexStub:
        """Give the stub of Convex."""
        return cast("ConvexStub", self.served["convex"].stub)

    @property
    def mixpeek(self) -> MixpeekStub:
        """Give the stub of Mixpeek."""
        return cast("MixpeekStub", self.served["mixpeek"].stub)

    def reset(self) -> None:
        """Forget requests, faults and what was created, everywhere."""
        for one in self.served.values():
            one.stub.reset()
            one.faults.reset()


@contextlib.asynccontextmanager
async def serve_stubs() -> AsyncIterator[Stubs]:
    """Serve the stubs on 127.0.0.1, each at a free port, until the block is left."""
    with _listening() as (stubs, listeners):
        server = _Quiet(_config(stubs))
        task = asyncio.create_task(server.serve(listeners))
        try:
            yield stubs
        finally:
            server.should_exit = True
            await task


@contextlib.contextmanager
def running_stubs(accounts_out: Path | None = None) -> Iterator[Stubs]:
    """
    Serve the stubs from a thread until the block is left, for callers without an event loop.

    Writes an accounts file for them to `accounts_out`, readable by its owner only.

    Raises:
        OSError: the file cannot be written.
    """
    with _listening() as (stubs, listeners):
        if accounts_out is not None:
            _write_private(accounts_out, stubs.accounts_toml)
        server = _Quiet(_config(stubs))
        thread = threading.Thread(target=server.run, args=(listeners,), name="stubs", daemon=True)
        thread.start()
        try:
            yield stubs
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def run_stubs(accounts_out: Path, ready: Callable[[list[str]], None]) -> int:
    """
    Serve the stubs until SIGINT or SIGTERM, and give exit code 0.

    `ready` is told, once they listen, which they are and where: `mux at http://127.0.0.1:4711`.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with running_stubs(accounts_out) as stubs:
        stubs.mux.encodes_s = _ENCODES_S
        ready([f"{name} at {url}" for name, url in stubs.base_urls.items()])
        stop.wait()
    return 0


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


class _Quiet(uvicorn.Server):
    """A server that leaves signals to whoever started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _listening() -> Iterator[tuple[Stubs, list[socket.socket]]]:
    """Make every stub with a socket of its own that listens already."""
    with contextlib.ExitStack() as open_sockets:
        listeners = {name: open_sockets.enter_context(_listen()) for name in STUBS}
        served = {}
        for name, listener in listeners.items():
            stub = STUBS[name]()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            served[name] = Served(url, stub, Faulty(stub.app))
        yield Stubs(served), list(listeners.values())


def _listen() -> socket.socket:
    # Bound and listening before anything else: whoever learns the address can connect at once.
    # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def _config(stubs: Stubs) -> uvicorn.Config:
    by_port = {urlsplit(one.url).port: one.faults for one in stubs.served.values()}

    async def by_address(scope: Scope, receive: Receive, send: Send) -> None:
        await by_port[scope["server"][1]](scope, receive, send)

    # h11 whatever else is installed: the faults reach for its connection.
    return uvicorn.Config(
        by_address, http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_graceful_shutdown=1, loop="asyncio", interface="asgi3",
    )  # fmt: skip
