"""MCP servers that mean harm: whatever they do, a call ends in time, in bounds and in words."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from core.calls import Effect
from core.errors import Unavailable
from integrations.failure import CallFailed
from integrations.mcp import stdio
from integrations.mcp.direct_tool_call import list_tools
from integrations.mcp.guarded_http import is_private
from integrations.mcp.pool import McpPool
from integrations.mcp.run_servers import McpServers, RunServers
from integrations.mcp.servers_file import ServersFile
from integrations.mcp.tool_list import ToolList
from integrations.mcp.trust import Pin, TrustFile
from integrations.mcp.trusted_tools import TrustedTools
from integrations.sender import Bounds
from sandbox.calls import Call
from tests import mcp_raw
from tests.deadline import Deadline
from tests.mcp_raw import Answer, RawServer
from tests.mcp_serving import mcp_processes, serving, trust_all, write_servers

BOUNDS = Bounds(within_s=20, reply_bytes=100_000, depth=64)
CANARY = "canary-token-4711"


async def ask(path: Path, tool: str, pool: McpPool | None = None, bounds: Bounds = BOUNDS) -> Any:
    """Call a tool of the server `raw` without arguments."""
    own = pool or McpPool()
    try:
        run = RunServers(McpServers(TrustedTools.load(path), own), None, lambda _: True)
        target = run.find(Call(1, "mcp.raw", tool, None, b"[{}]"), 64)
        assert target is not None
        work, _, _ = run.prepare(target, 64)
        return orjson.loads((await work.carry_out(bounds)).body)
    finally:
        if pool is None:
            await own.close()


def attempt(tmp_path: Path, answer: Answer, tool: str, section: str = "") -> tuple[Any, RawServer]:
    """Trust a hostile server, call its tool once; give the value or the failure."""
    server = RawServer(answer)

    async def whole(path: Path) -> Any:
        await trust_all(path)
        try:
            return await ask(path, tool)
        except CallFailed as failure:
            return failure

    # A machine that is busy must not be taken for a server that is silent.
    timeout_s = 5 if answer is mcp_raw.silent else 15
    with serving(server) as url:
        text = f'[raw]\nurl = "{url}/mcp"\ntimeout_s = {timeout_s}\n{section}'
        path = write_servers(tmp_path, text)
        return asyncio.run(whole(path)), server


@pytest.mark.parametrize(
    ("answer", "code", "write_effect"),
    [
        (mcp_raw.huge, "reply_too_large", Effect.UNKNOWN),
        (mcp_raw.squeezed, "invalid_reply", Effect.UNKNOWN),
        (mcp_raw.silent, "timeout", Effect.UNKNOWN),
        (mcp_raw.half, "dropped", Effect.UNKNOWN),
        (mcp_raw.storm, "reply_too_large", Effect.UNKNOWN),
        (mcp_raw.deep, "reply_too_deep", Effect.SUCCEEDED),
        (mcp_raw.large_number, "invalid_reply", Effect.SUCCEEDED),
        (mcp_raw.nonsense, "invalid_reply", Effect.UNKNOWN),
        (mcp_raw.no_json, "invalid_reply", Effect.UNKNOWN),
        (mcp_raw.page, "bad_request", Effect.FAILED),
        (mcp_raw.redirects, "redirect_refused", Effect.FAILED),
        (mcp_raw.fails, "server_error", Effect.UNKNOWN),
        (mcp_raw.accepted, "bad_request", Effect.UNKNOWN),
        (mcp_raw.insists, "input_required", Effect.FAILED),
    ],
)
@pytest.mark.parametrize("tool", ["look", "change"])
def test_a_bad_answer_is_a_clear_failure(
    tmp_path: Path, answer: Answer, code: str, write_effect: Effect, tool: str
) -> None:
    """It is asked once; a read failed, and of a write nobody claims more than is known."""
    failure, server = attempt(tmp_path, answer, tool)
    assert isinstance(failure, CallFailed)
    assert failure.code == code, failure.message
    assert failure.effect is (write_effect if tool == "change" else Effect.FAILED)
    assert failure.message.startswith(f"mcp.raw.{tool}: ")
    assert server.calls == 1


def test_the_server_gets_nothing_it_asks_for(tmp_path: Path) -> None:
    """To sample, to ask a person and to name directories are refused, and the call goes on."""
    value, _ = attempt(tmp_path, mcp_raw.asks, "look")
    assert value == "[True, True, True]"


@pytest.mark.parametrize("answer", [mcp_raw.says_secrets, mcp_raw.echoes_secrets])
def test_no_answer_carries_a_credential_or_a_control(tmp_path: Path, answer: Answer) -> None:
    """What a server says back of our headers reaches neither error nor value."""
    section = f'headers = {{ Authorization = "Bearer {CANARY}" }}\n'
    seen, server = attempt(tmp_path, answer, "look", section)
    assert server.seen[-1][0]["authorization"] == f"Bearer {CANARY}"
    shown = seen.message if isinstance(seen, CallFailed) else orjson.dumps(seen).decode()
    assert CANARY not in shown
    assert "[redacted]" in shown
    assert shown.isprintable()


@pytest.mark.parametrize("tool", ["look", "change"])
def test_a_changed_list_stops_every_tool_until_it_is_trusted_again(
    tmp_path: Path, tool: str
) -> None:
    """Also in a run that has begun: nothing is sent, what changed is told, trust mends it."""
    server = RawServer(mcp_raw.content_ok)

    async def whole(path: Path) -> CallFailed:
        await trust_all(path)
        pool = McpPool()
        assert await ask(path, tool, pool) == "ok"
        server.tools = [*server.tools, {"name": "steal", "inputSchema": {"type": "object"}}]
        with pytest.raises(CallFailed) as refused:
            await ask(path, tool, pool)
        assert server.calls == 1
        await trust_all(path)
        assert await ask(path, tool, pool) == "ok"
        await pool.close()
        return refused.value

    with serving(server) as url:
        text = f'[raw]\nurl = "{url}/mcp"\ncheck_s = 0\n'
        failure = asyncio.run(whole(write_servers(tmp_path, text)))
    assert failure.code == "tools_changed"
    assert "added: steal" in failure.message
    assert failure.message.endswith("no external call was made")


@pytest.mark.parametrize(
    "tools",
    [
        [{"name": f"t{n}", "inputSchema": {"type": "object"}} for n in range(10_000)],
        [{"name": "a", "inputSchema": {"type": "object"}}] * 2,
        [{"name": "a", "description": "x" * 9_000_000, "inputSchema": {"type": "object"}}],
        [{"name": 4}],
    ],
)
def test_a_list_without_measure_calls_nothing(tmp_path: Path, tools: list[dict[str, Any]]) -> None:
    """A server that was trusted and lists ten thousand tools, doubles or nonsense is not used."""
    server = RawServer(mcp_raw.content_ok)

    async def whole(path: Path) -> CallFailed:
        await trust_all(path)
        server.tools = tools
        with pytest.raises(CallFailed) as refused:
            await ask(path, "change")
        return refused.value

    with serving(server) as url:
        failure = asyncio.run(whole(write_servers(tmp_path, f'[raw]\nurl = "{url}/mcp"\n')))
    assert failure.effect is Effect.FAILED
    assert failure.message.endswith("no external call was made")
    assert server.calls == 0


def test_no_request_goes_into_a_private_network_unasked(tmp_path: Path) -> None:
    """In production loopback counts as private; `private` is the operator's word for one server."""
    server = RawServer(mcp_raw.content_ok)

    async def whole(path: Path) -> Any:
        await trust_all(path)
        pool = McpPool(allow_local=False)
        try:
            return await ask(path, "look", pool)
        except CallFailed as failure:
            return failure
        finally:
            await pool.close()

    with serving(server) as url:
        path = write_servers(tmp_path, f'[raw]\nurl = "{url}/mcp"\n')
        refused = asyncio.run(whole(path))
        seen = len(server.seen)
        path.write_text(f'[raw]\nurl = "{url}/mcp"\nprivate = true\n')
        allowed = asyncio.run(whole(path))
    assert isinstance(refused, CallFailed)
    assert (refused.code, refused.retriable) == ("address_refused", False)
    assert seen == 4  # those of `trust_all`, in development
    assert allowed == "ok"


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        *(("10.1.2.3", True), ("127.0.0.1", True), ("192.168.0.1", True), ("fd00::1", True)),
        *(("1.1.1.1", True), ("169.254.169.254", False), ("168.63.129.16", False)),
        *(("fe80::1", False), ("224.0.0.1", False), ("0.0.0.0", False), ("::", False)),  # noqa: S104
        *(("fd00:ec2::254", False), ("fd00:ec2::253", True)),
        *(("::ffff:169.254.169.254", False), ("::ffff:10.0.0.1", True), ("240.0.0.1", False)),
    ],
)
def test_even_a_private_server_is_no_metadata_service(address: str, *, allowed: bool) -> None:
    """`private` opens private networks and loopback, nothing else."""
    assert is_private(ipaddress.ip_address(address)) is allowed


FLOOD = """
import sys, json
for line in sys.stdin:
    message = json.loads(line)
    while True:
        sys.stdout.write('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\\n')
"""
NO_LINE_END = """
import sys
while True:
    sys.stdout.write("x" * 65536)
"""


@pytest.mark.parametrize(
    "program", [FLOOD, NO_LINE_END, "raise SystemExit(3)", "import time\ntime.sleep(99)"]
)
def test_a_program_that_is_no_server_is_ended(tmp_path: Path, program: str) -> None:
    """A flood, a line without end, an exit and silence: no tools, and the process is gone."""
    file = tmp_path / "server.py"
    file.write_text(program)
    text = f'[raw]\ncommand = "{sys.executable}"\nargs = ["{file}"]\ntimeout_s = 1\n'
    server = ServersFile.load(write_servers(tmp_path, text)).for_tenant(None)["raw"]
    with pytest.raises(Unavailable, match="cannot be had"):
        asyncio.run(list_tools(server, None))
    Deadline().until(lambda: not mcp_processes(str(file)), "the end of the process")


DEAF = """
import sys, time
sys.stdin.read()
open(sys.argv[1], "w").close()
time.sleep(99)
"""


def test_who_is_cancelled_while_a_program_is_ended_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that goes on without input is killed also if nobody waits for it any more."""
    monkeypatch.setattr(stdio, "_GRACE_S", 60.0)
    file, heard = tmp_path / "server.py", tmp_path / "heard"
    file.write_text(DEAF)
    text = f'[raw]\ncommand = "{sys.executable}"\nargs = ["{file}", "{heard}"]\n'
    server = ServersFile.load(write_servers(tmp_path, text)).for_tenant(None)["raw"]

    async def there_and_back() -> None:
        async with stdio.stdio_streams(server, show_errors=True, ended=lambda: None):
            pass

    async def whole() -> None:
        task = asyncio.create_task(there_and_back())
        await Deadline().reached(anyio.Path(heard).exists, "the end of its input")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())
    Deadline().until(lambda: not mcp_processes(str(file)), "the end of the process")


def test_a_server_that_keeps_failing_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not started for each of a thousand calls; nothing was sent, and later may be well."""
    for name in ("_FIRST_PAUSE_S", "_LONGEST_PAUSE_S", "_LIVED_S"):
        monkeypatch.setattr(f"integrations.mcp.pool.{name}", 60.0)
    path = write_servers(tmp_path, '[raw]\ncommand = "/bin/false"\n')
    server = ServersFile.load(path).for_tenant(None)["raw"]
    tools = ToolList.of([{"name": "change", "inputSchema": {"type": "object"}}])
    TrustFile(path).write({("development", "raw"): Pin(tools, server.endpoint, 1)})

    async def whole() -> list[CallFailed]:
        pool = McpPool()
        failures = []
        for _ in range(3):
            with pytest.raises(CallFailed) as refused:
                await ask(path, "change", pool)
            failures.append(refused.value)
        await pool.close()
        return failures

    failures = asyncio.run(whole())
    assert {(one.code, one.effect, one.retriable) for one in failures} == {
        ("unreachable", Effect.FAILED, True)
    }
    assert "is left alone for" in failures[-1].message


def test_an_announced_change_is_looked_at_at_once(tmp_path: Path) -> None:
    """In the middle of a run, however long the last look would have counted."""
    server = RawServer(mcp_raw.announces)

    async def whole(path: Path) -> CallFailed:
        await trust_all(path)
        pool = McpPool()
        assert await ask(path, "change", pool) == "ok"
        with pytest.raises(CallFailed) as refused:
            await ask(path, "change", pool)
        await pool.close()
        return refused.value

    with serving(server) as url:
        text = f'[raw]\nurl = "{url}/mcp"\ncheck_s = 600\n'
        failure = asyncio.run(whole(write_servers(tmp_path, text)))
    assert (failure.code, server.calls) == ("tools_changed", 1)
