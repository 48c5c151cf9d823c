"""
`moonsand integrations lua` and `mcp lua`, also with a colon: KosmoKrator's commands for scripts.

Their envelope differs from `moonsand run --json`: scripts that call KosmoKrator read this one.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from moonsand import script_options as options
from moonsand.commands.run import AccountsFile, Files, PacksDirectory, Watch, run_here
from moonsand.exits import Exit, of_result
from moonsand.local_mcp import McpFile
from moonsand.terminal import write_end, write_output
from runs.model import RunRequest, RunResult
from sandbox.limits import SPECS
from sandbox.outcome import Reason

_MEMORY, _CPU = SPECS["memory_bytes"], SPECS["cpu_ms"]
#: KosmoKrator's scripts know no other limits than memory and processor time: they get the most.
_UNKNOWN = ("instructions", "wall_ms", "output_bytes", "result_bytes", "calls")
#: Calls that reach nobody outside.
_TOLD_HERE = frozenset({"mcp.servers", "mcp.tools", "mcp.schema"})

Force = Annotated[
    bool, typer.Option("--force", help="Skip the read/write policy; what it skipped is recorded.")
]
MemoryLimit = Annotated[
    int | None,
    typer.Option(
        min=_MEMORY.minimum,
        max=_MEMORY.maximum,
        help=f"Bytes of Lua memory (default {_MEMORY.default:,}).",
    ),
]
CpuLimit = Annotated[
    float | None,
    typer.Option(
        min=_CPU.minimum / 1000,
        max=_CPU.maximum / 1000,
        help=f"Seconds of processor time (default {_CPU.default // 1000}).",
    ),
]


def lua(
    file: options.File = None,
    code: options.Code = None,
    as_json: options.AsJson = False,
    force: Force = False,
    memory_limit: MemoryLimit = None,
    cpu_limit: CpuLimit = None,
    accounts: AccountsFile = None,
    packs: PacksDirectory = None,
    mcp: McpFile = None,
) -> int:
    """
    Run a script here against the configured accounts, as KosmoKrator's `integrations:lua`.

    Exit code: 0 succeeded, 1 the script failed, 2 nothing was run, 3 our fault.
    """
    request = _request((file, code), (memory_limit, cpu_limit), force=force)
    return _run(request, (accounts, packs), mcp, as_json=as_json)


def mcp_lua(
    file: options.File = None,
    code: options.Code = None,
    as_json: options.AsJson = False,
    force: Force = False,
    memory_limit: MemoryLimit = None,
    cpu_limit: CpuLimit = None,
    mcp: McpFile = None,
) -> int:
    """
    Run a script here that calls MCP servers and nothing else, as KosmoKrator's `mcp:lua`.

    Exit code: 0 succeeded, 1 the script failed, 2 nothing was run, 3 our fault.
    """
    request = _request((file, code), (memory_limit, cpu_limit), force=force)
    only_mcp = request.model_copy(update={"grants": ["mcp"]})
    return _run(only_mcp, (None, None), mcp, as_json=as_json)


def _request(
    source: tuple[Path | None, str | None],
    limits: tuple[int | None, float | None],
    *,
    force: bool,
) -> RunRequest:
    script, name = options.read_script(options.Source(*source, None))
    return RunRequest(script=script, name=name, limits=limits_of(*limits), force=force)


def _run(request: RunRequest, files: Files, mcp: Path | None, *, as_json: bool) -> int:
    watch = Watch(live=not as_json)
    result = asyncio.run(run_here(request, files, watch, listed=True, mcp=mcp))
    if watch.reader_left:
        raise watch.reader_left
    if as_json:
        write_output(f"{json.dumps(envelope(result, forced=request.force))}\n")
    else:
        write_end(_unlisted(result))
    return Exit.INTERRUPTED if result.reason is Reason.CANCELLED else of_result(result)


def limits_of(memory_bytes: int | None, cpu_s: float | None) -> dict[str, int]:
    """Give the limits of such a run: the two that have options, and the others at their most."""
    limits = {name: SPECS[name].maximum for name in _UNKNOWN}
    if memory_bytes is not None:
        limits["memory_bytes"] = memory_bytes
    if cpu_s is not None:
        limits["cpu_ms"] = round(cpu_s * 1000)
    return limits


def envelope(result: RunResult, *, forced: bool) -> dict[str, Any]:
    """Give the document of `--json`: times in milliseconds, memory in bytes."""
    error = result.error
    return {
        "success": of_result(result) is Exit.SUCCEEDED,
        "output": result.output,
        "error": error.message if error else None,
        "result": result.result,
        "execution_time_ms": result.usage.wall_ms,
        "memory_usage": result.usage.memory_bytes,
        "integration_calls": [
            {"function": _lua_path(one.name), **one.to_json()}
            for one in result.calls
            if not one.name.startswith("docs.") and one.name not in _TOLD_HERE
        ],
        "meta": {
            "permission_bypassed": forced,
            "run": result.id,
            "reason": result.reason,
            "line": error.line if error else None,
            "hint": error.hint if error else None,
        },
    }


def _lua_path(name: str) -> str:
    return f"app.{name}" if name.startswith("mcp.") else f"app.integrations.{name}"


def _unlisted(result: RunResult) -> RunResult:
    """Show one value as itself and no value not at all, as KosmoKrator does."""
    values = result.result
    if not isinstance(values, list) or len(values) > 1:
        return result
    return result.model_copy(update={"result": values[0] if values else None})
