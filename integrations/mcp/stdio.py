"""
A server that is a process of ours: started, spoken to in lines of JSON, and ended.

Runs in: worker, CLI. Trusts: the operator's command. Refuses: to hand it anything of our own
environment, lines without an end, and a flood of messages nobody asked for.
May import: integrations, core, asyncio, anyio, the MCP SDK.

The process gets exactly the variables of its configuration, dies with us (the kernel sends
SIGKILL when its parent ends), and is killed with its children when the connection closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

import core.parent_death
from integrations.mcp.servers_file import Server

MAX_LINE_BYTES = 32 * 1024 * 1024
#: Messages a server may send between two of ours.
MAX_UNASKED = 10_000
_GRACE_S = 2.0
_LAUNCHER = Path(core.parent_death.__file__)

Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


@asynccontextmanager
async def stdio_streams(
    server: Server, *, show_errors: bool, ended: Callable[[], None]
) -> AsyncIterator[Streams]:
    """
    Start the process of a server and give the streams to and from it; both end when it does.

    `show_errors` lets its standard error through to ours; `ended` is told when it speaks no more.

    Raises:
        OSError: it cannot be started.
    """
    process = await _start(server, show_errors=show_errors)
    to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_server, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    link = _Link(process, ended)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.read, to_session)
            tasks.start_soon(link.write, from_session, to_session)
            yield from_server, to_server
            tasks.cancel_scope.cancel()
    finally:
        try:
            with anyio.CancelScope(shield=True):
                await _end(process)
        finally:
            for one in (to_session, from_server, to_server, from_session):
                one.close()


async def _start(server: Server, *, show_errors: bool) -> Process:
    if server.command is None:
        raise TypeError(f"{server.name} is no process")
    launch = [sys.executable, "-I", "-S", str(_LAUNCHER), f"--kill={os.getpid()}"]
    return await asyncio.create_subprocess_exec(
        *launch,
        server.command,
        *server.args,
        stdin=PIPE,
        stdout=PIPE,
        stderr=None if show_errors else DEVNULL,
        env={name: value.reveal() for name, value in server.env.items()},
        cwd=server.cwd,
        start_new_session=True,
        limit=MAX_LINE_BYTES,
    )


async def _end(process: Process) -> None:
    """
    Close its input, give it a moment, then kill it and what it started.

    Whoever cancels this task does not keep it alive: a shield does not hold against `Task.cancel`.
    """
    try:
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        # What it had written stays unread: `wait` would wait for that too, if it were not let go.
        pipes: Any = process
        pipes._transport.close()  # noqa: SLF001
        await process.wait()


class _Link:
    """The two directions of the pipe."""

    def __init__(self, process: Process, ended: Callable[[], None]) -> None:
        self._process = process
        self._ended = ended
        self._unasked = 0

    async def read(self, to_session: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Pass on what the server says, until it ends or says too much."""
        source = self._process.stdout
        assert source is not None  # noqa: S101 (it was asked for)
        async with to_session:
            with contextlib.suppress(
                anyio.BrokenResourceError, anyio.ClosedResourceError, ValueError, OSError
            ):
                while line := await source.readline():
                    self._unasked += 1
                    if self._unasked > MAX_UNASKED:
                        return
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        continue  # a line that is no message: a program that prints to its output
                    await to_session.send(SessionMessage(message))
        self._ended()

    async def write(
        self,
        from_session: MemoryObjectReceiveStream[SessionMessage],
        to_session: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        """Pass on what we say; end the connection when the server does not take it."""
        sink = self._process.stdin
        assert sink is not None  # noqa: S101 (it was asked for)
        try:
            async for item in from_session:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                self._unasked = 0
                sink.write(text.encode() + b"\n")
                await sink.drain()
        except OSError:
            to_session.close()
