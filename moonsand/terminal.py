"""
Writing to a terminal what untrusted scripts said.

Escape sequences could move the cursor, retitle the window or paste commands, so every control
character except newline and tab is shown as its code.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from typing import Any

from core.plans import Plan
from runs.model import RunResult, State

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    r"""Show control and text-direction characters as `\x1b` or `\u202e`."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def write_output(text: str) -> None:
    """Write printed text to stdout as it comes."""
    sys.stdout.write(safe(text))
    sys.stdout.flush()


def write_error(text: str) -> None:
    """Write one line to stderr."""
    sys.stdout.flush()
    with suppress(OSError):  # whoever does not want to hear it
        sys.stderr.write(f"{safe(text)}\n")


def pretty(value: Any) -> str:
    """Lay out a JSON value for reading."""
    return safe(json.dumps(value, ensure_ascii=False, indent=2))


def write_end(result: RunResult) -> None:
    """Show how a run ended: its result on stdout, anything else on stderr."""
    if result.output and not result.output.endswith("\n"):
        write_output("\n")
    if result.status is State.SUCCEEDED:
        if result.result is not None:
            write_output(f"{pretty(result.result)}\n")
    else:
        write_fault(result)
    if result.plan is not None:
        write_error(plan_lines(result.id, result.plan, result.applied))
    if sys.stderr.isatty():
        write_error(summary(result))


def write_fault(result: RunResult) -> None:
    """Show on stderr why a run did not succeed."""
    error = result.error
    where = f" (line {error.line})" if error and error.line is not None else ""
    message = error.message if error else f"the run was {result.status}"
    write_error(f"{result.reason or result.status}{where}: {message}")
    if error and error.hint:
        write_error(f"hint: {error.hint}")


def plan_lines(run: str, plan: Plan, applied: int | None = None) -> str:
    """Lay out the plan of a run for reading; of one that was applied, say how far."""
    count = len(plan.writes)
    if applied is not None:
        return f"plan: {applied} of {count} applied"
    head = f"plan of {run}: {count} write{'s' * (count != 1)}"
    lines = [head, f"  digest {plan.digest}"]
    for write in plan.writes:
        account = f" ({write.account})" if write.account not in {None, "default"} else ""
        text = json.dumps(write.arguments, ensure_ascii=False)
        lines.append(f"  {write.n}. {write.name}{account} {text}")
        lines += [
            f"     {value} stands for {origin.path} of the answer to write {origin.write}"
            for value, origin in write.references.items()
        ]
        if write.asks:
            lines.append("     a grant wants an approval for it")
    return "\n".join(lines)


def summary(result: RunResult) -> str:
    """Say in one line what a run used."""
    usage = result.usage
    calls = "1 call" if usage.calls == 1 else f"{usage.calls} calls"
    return (
        f"{result.status} in {usage.wall_ms} ms"
        f" ({usage.instructions:,} instructions, {usage.cpu_ms} ms of CPU,"
        f" {usage.memory_bytes / 1024:,.0f} KiB, {calls})"
    )
