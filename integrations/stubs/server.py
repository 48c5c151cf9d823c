"""Starts the stubs on this machine and says how to use them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from integrations.stubs.faults import Faulty
from integrations.stubs.mux import MuxStub

#: Token id, token secret and environment of each account the stub of Mux knows.
MUX_ACCOUNTS: dict[str, tuple[str, str]] = {
    "default": ("stub-mux-default-id", "stub-mux-default-secret"),
    "work": ("stub-mux-work-id", "stub-mux-work-secret"),
    "production": ("stub-mux-production-id", "stub-mux-production-secret"),
    "staging": ("stub-mux-staging-id", "stub-mux-staging-secret"),
}


@dataclass(frozen=True, slots=True)
class Stubs:
    """
    The stubs that are running.

    `base_urls` maps an integration to its address; `accounts_toml` is the text of an accounts
    file for them; `mux` is the application, `mux_faults` its counters and faults.
    """

    base_urls: dict[str, str]
    accounts_toml: str
    mux: MuxStub
    mux_faults: Faulty


@contextlib.asynccontextmanager
async def serve_stubs(*, mux_port: int = 0) -> AsyncIterator[Stubs]:
    """
    Serve the stubs on 127.0.0.1 until the block is left; port 0 takes any free one.

    Raises:
        OSError: the port is taken.
    """
    listener = _listen(mux_port)
    stubs = _stubs(listener)
    server = _Quiet(_config(stubs))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield stubs
    finally:
        server.should_exit = True
        await task
        listener.close()


@contextlib.contextmanager
def running_stubs(accounts_out: Path | None = None, *, mux_port: int = 0) -> Iterator[Stubs]:
    """
    Serve the stubs from a thread until the block is left, for callers without an event loop.

    Writes an accounts file for them to `accounts_out`, readable by its owner only.

    Raises:
        OSError: the port is taken, or the file cannot be written.
    """
    listener = _listen(mux_port)
    stubs = _stubs(listener)
    if accounts_out is not None:
        _write_private(accounts_out, stubs.accounts_toml)
    server = _Quiet(_config(stubs))
    thread = threading.Thread(target=server.run, args=([listener],), name="stubs", daemon=True)
    thread.start()
    try:
        yield stubs
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


def run_stubs(accounts_out: Path, ready: Callable[[list[str]], None]) -> int:
    """
    Serve the stubs until SIGINT or SIGTERM, and give exit code 0.

    `ready` is told, once they listen, which they are and where: `mux at http://127.0.0.1:4711`.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with running_stubs(accounts_out) as stubs:
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


def _listen(port: int) -> socket.socket:
    # Bound and listening before anything else: whoever learns the address can connect at once.
    # Named as TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def _stubs(listener: socket.socket) -> Stubs:
    mux = MuxStub({token: (secret, name) for name, (token, secret) in MUX_ACCOUNTS.items()})
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return Stubs({"mux": url}, accounts_toml(url), mux, Faulty(mux.app))


def accounts_toml(mux_url: str) -> str:
    """Give the text of an accounts file for a stub at an address."""
    sections = [
        f'[mux.{name}]\ntoken_id = "{token}"\ntoken_secret = "{secret}"\nbase_url = "{mux_url}"\n'
        for name, (token, secret) in MUX_ACCOUNTS.items()
    ]
    return (
        "# Accounts of the stubs on this machine. Nothing here is a real secret.\n\n"
        + "\n".join(sections)
    )


def _config(stubs: Stubs) -> uvicorn.Config:
    # h11 whatever else is installed: the faults reach for its connection.
    return uvicorn.Config(
        stubs.mux_faults, http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_graceful_shutdown=1, loop="asyncio",
    )  # fmt: skip
