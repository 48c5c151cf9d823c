"""Scripts call real MCP servers, over HTTP and as processes, from the real jail."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.calls import Effect
from integrations.accounts import Accounts
from integrations.failure import CallFailed
from integrations.mcp.run_servers import McpServers, RunServers
from integrations.sender import Bounds
from ledger.tape import Kind, MemoryTape
from runs.model import RunRequest, RunResult
from sandbox.calls import Call
from sandbox.outcome import Reason
from sandbox.supervisor import Sandbox
from tenancy.grants import Grants
from tests.deadline import Deadline
from tests.mcp_notes import notes_server
from tests.mcp_serving import (
    mcp_processes,
    mcp_servers,
    serving,
    stdio_section,
    trust_all,
    write_servers,
)
from tests.shipped import CATALOG
from worker.local import run_local

pytestmark = pytest.mark.jail
SECRET = "canary-secret-0815"


OTHER = '[other]\nurl = "http://127.0.0.1:9/mcp"\n'


@pytest.fixture(scope="module")
def trusted_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trusted server that is a process: each run starts it, its tools are trusted once."""
    section = stdio_section(more=f'env = {{ TOKEN = "{SECRET}" }}\n')
    return _trusted(tmp_path_factory.mktemp("mcp"), section)


@pytest.fixture(params=["http", "stdio"])
def servers(
    request: pytest.FixtureRequest, tmp_path: Path, trusted_process: Path
) -> Iterator[Path]:
    """A file with the trusted server `notes`, and one with the untrusted `other`."""
    if request.param == "stdio":
        yield trusted_process
        return
    app = notes_server().streamable_http_app(stateless_http=True)
    with serving(app) as url:
        section = f'[notes]\nurl = "{url}/mcp"\nheaders = {{ X-Token = "{SECRET}" }}\n'
        yield _trusted(tmp_path, section)


def _trusted(directory: Path, section: str) -> Path:
    path = write_servers(directory, section)
    asyncio.run(trust_all(path))
    path.write_text(section + OTHER)
    return path


def run(
    path: Path,
    script: str,
    *grants: str,
    tape: MemoryTape | None = None,
    warm: bool = False,
    **limits: int,
) -> RunResult:
    """Run a script with the servers of a file; `warm` with the connection made before it begins."""

    async def whole() -> RunResult:
        shared = mcp_servers(path)
        try:
            if warm:
                await call_notes(shared)
            async with Sandbox(1) as sandbox:
                return await run_local(
                    RunRequest(script=script, limits=limits),
                    sandbox=sandbox,
                    catalog=CATALOG,
                    accounts=Accounts(),
                    grants=Grants.parse(grants) if grants else Grants.everything(),
                    tape=tape,
                    mcp=shared,
                )
        finally:
            await shared.pool.close()

    return asyncio.run(whole())


def value(result: RunResult) -> Any:
    """Give the result of a run that succeeded."""
    assert (result.reason, result.error) == (Reason.OK, None)
    return result.result


def test_every_function_does_what_it_says(servers: Path) -> None:
    """Tools by name and by path, with a table and in order; resources and prompts; the lists."""
    script = """
        local notes = app.mcp.notes
        notes.write_note({ name = "a", text = "one two three" })
        local names = {}
        for _, one in ipairs(mcp.tools("notes")) do names[#names + 1] = one["function"] end
        for _, one in ipairs(mcp.servers()) do
          names[#names + 1] = one.name .. " " .. tostring(one.trusted)
        end
        return {
          notes.read_note("a"), notes["read_note"]{ name = "a" },
          mcp.call("mcp.notes.read_note", { name = "a" }),
          notes.count_words{ text = "a bb ccc", least = 2 }.words, notes.as_json("x").name,
          mcp.schema("notes.write-note").lua_path, mcp.resources("notes")[1].uri,
          mcp.read_resource("notes", "notes://first").contents[1].text,
          mcp.prompts("notes")[1].name,
          mcp.get_prompt("notes", "greet", { name = "Ada" }).messages[1].content.text, names,
        }
    """
    names = [f"notes.{name}" for name in ("as_json", "change_tools", "count_words", "read_note",
             "vanish", "variables", "wait_for_ever", "write_note")]  # fmt: skip
    assert value(run(servers, script)) == [
        *("one two three", "one two three", "one two three", 2, "x"),
        *("app.mcp.notes.write_note", "notes://first", "hello", "greet", "Please greet Ada."),
        [*names, "notes true", "other false"],
    ]


def test_the_tape_has_every_call_by_the_name_of_its_tool(servers: Path) -> None:
    """Calls by name and by path are one thing; what a server knows of us is on no tape."""
    tape = MemoryTape(lambda: 1)
    run(servers, 'mcp.servers() mcp.call("notes.read_note", {name = "first"})', tape=tape)
    bodies = [entry.body for entry in tape.entries if entry.kind is Kind.INTENT]
    assert [one["name"] for one in bodies] == ["mcp.servers", "mcp.notes.read_note"]
    assert bodies[1]["effect_class"] == "read"
    assert SECRET not in str([entry.body for entry in tape.entries])


FAILURES = (
    ('app.mcp.notes.read_note{name = "none"}', "tool_error", "there is no note none"),
    ("app.mcp.notes.read_note{nam = 1}", "invalid_arguments", "did you mean: name"),
    ("app.mcp.notes.read_note{name = 1}", "invalid_arguments", "name must be a string"),
    ('mcp.call("notes.read_not", {})', "unknown_function", "Did you mean: read_note?"),
    ('mcp.tools("note")', "unknown_server", "Did you mean: notes?"),
    ("app.mcp.other.anything{}", "not_trusted", "no external call was made"),
    ('mcp.call("other.x", {})', "not_trusted", "has to trust its tools first"),
    ('mcp.resources("other")', "not_trusted", "is not trusted"),
    ('mcp.read_resource("notes", "notes://none")', "invalid", "Unknown resource"),
)


def test_a_failure_is_an_error_table_that_helps(servers: Path) -> None:
    """As of any integration: caught by `pcall`, with a code, and words that name what is wrong."""
    calls = ",\n".join(f"function() return {call} end" for call, _, _ in FAILURES)
    script = f"""
        local failures = {{}}
        for _, call in ipairs({{ {calls} }}) do
          local ok, e = pcall(call)
          failures[#failures + 1] = {{ ok, e.code, tostring(e) }}
        end
        return failures
    """
    for (call, code, words), (ok, seen, message) in zip(
        FAILURES, value(run(servers, script)), strict=True
    ):
        assert (ok, seen) == (False, code), call
        assert words in message, call


def test_only_what_is_granted_is_there(servers: Path) -> None:
    """By class or by tool; what is not granted is no name, no row, and no call by name either."""
    script = """
        local names = {}
        for name in pairs(app.mcp.notes) do names[#names + 1] = name end
        local rows = #mcp.tools("notes")
        local ok, e = pcall(mcp.call, "notes.write_note", { name = "a", text = "b" })
        local there = pcall(function() return app.mcp.notes.write_note end)
        return { rows, e.code, there, names }
    """
    reads = ["as_json", "change_tools", "count_words", "read_note", "variables"]
    assert value(run(servers, script, "mcp.notes:read")) == [5, "denied", False, reads]
    assert value(run(servers, script, "mcp:read")) == [5, "denied", False, reads]
    assert value(run(servers, script, "mcp.notes.read_note")) == [1, "denied", False, ["read_note"]]


def test_grants_for_a_tool_are_none_for_resources(servers: Path) -> None:
    """Resources and prompts are reads of the server."""
    script = 'local ok, e = pcall(mcp.resources, "notes") return ok or e.code'
    assert value(run(servers, script, "mcp.notes.read_note")) == "denied"
    assert value(run(servers, script, "mcp.notes:read")) is True


def test_calls_at_once_share_a_connection(servers: Path) -> None:
    """`parallel` works for tools as for any function."""
    script = """
        return #parallel.map({1, 2, 3, 4, 5, 6, 7, 8}, function(n)
          return app.mcp.notes.count_words{ text = "a b" }
        end, { concurrency = 8 })
    """
    assert value(run(servers, script)) == 8


def test_a_write_without_an_answer_ends_the_run(servers: Path) -> None:
    """The server waits for ever, the run's time ends: nobody knows what the tool did."""
    result = run(servers, "pcall(app.mcp.notes.wait_for_ever)", warm=True, wall_ms=3000)
    assert result.reason in {Reason.WALL_LIMIT, Reason.EFFECT_UNKNOWN}
    assert [call.effect for call in result.calls] == [Effect.UNKNOWN]


def test_a_run_without_servers_has_the_names(tmp_path: Path) -> None:
    """The document's example works where nothing is configured: an empty list."""
    path = write_servers(tmp_path, "")
    assert value(run(path, "return { mcp.servers(), mcp.tools(), next(app.mcp) == nil }")) == [
        [],
        [],
        True,
    ]


def test_a_process_that_dies_while_it_writes_leaves_an_unknown_effect(
    trusted_process: Path,
) -> None:
    """It had happened: the note was written, and no answer came. `pcall` does not hold the run."""
    result = run(trusted_process, 'pcall(app.mcp.notes.vanish, {name = "x"}) print("not reached")')
    assert (result.reason, result.output) == (Reason.EFFECT_UNKNOWN, "")
    assert [call.effect for call in result.calls] == [Effect.UNKNOWN]


def test_a_process_sees_its_own_variables_only(trusted_process: Path) -> None:
    """Nothing of the worker's environment; what Python sets itself is not ours."""
    seen = value(run(trusted_process, "return app.mcp.notes.variables()"))
    assert isinstance(seen, list)
    assert set(seen) <= {"TOKEN", "LC_CTYPE"}
    assert "TOKEN" in seen


async def call_notes(shared: McpServers) -> bytes:
    """Read a note without a script."""
    servers = RunServers(shared, None, lambda _: True)
    target = servers.find(Call(1, "mcp.notes", "read_note", None, b'[{"name":"first"}]'), 64)
    assert target is not None
    work, _, _ = servers.prepare(target, 64)
    return (await work.carry_out(Bounds(within_s=50, reply_bytes=10_000, depth=64))).body


def test_a_process_that_died_is_started_again(tmp_path: Path) -> None:
    """The next call finds a new one; nothing of the worker's has to be restarted."""
    mark = str(tmp_path / "mark")
    section = stdio_section().replace('.py"]', f'.py", "{mark}"]')
    path = write_servers(tmp_path, section)

    async def whole() -> tuple[bytes, bytes]:
        await trust_all(path)
        shared = mcp_servers(path)
        first = await call_notes(shared)
        (pid,) = mcp_processes(mark)
        os.kill(pid, signal.SIGKILL)

        async def again() -> bytes | None:
            try:
                return await call_notes(shared)
            except CallFailed as failure:
                return None if failure.retriable else b"gave up"

        second = await Deadline().reached(again, "the server to be started again", seconds=50)
        await shared.pool.close()
        assert second is not None
        return first, second

    assert asyncio.run(whole()) == (b'"hello"', b'"hello"')
    assert mcp_processes(mark) == []
