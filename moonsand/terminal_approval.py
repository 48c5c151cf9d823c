"""Asking whoever sits at the terminal whether something may be done."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from core.clock import now_ms
from integrations.waits import Answer, Decision
from moonsand.terminal import pretty, safe, write_error

if TYPE_CHECKING:
    from integrations.waits import Wait

_YES = {"y", "yes"}
_MAX_LINE_BYTES = 4_096


def can_ask() -> bool:
    """Tell whether there is a terminal on which somebody can read and answer."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


async def ask(wait: Wait) -> Answer:
    """Show what is asked on stderr and read the answer; all but `y` and `yes` is no."""
    question = wait.question
    assert question is not None  # noqa: S101 (only approvals are asked)
    write_error(f"approval: {question.title}")
    if question.function is not None:
        account = f" with account {question.account}" if question.account else ""
        write_error(f"  {question.function}{account}: {question.preview}")
    if question.details is not None:
        write_error(pretty(question.details))
    sys.stderr.write(safe("approve? [y/N] "))
    sys.stderr.flush()
    said = (await _line()).strip().lower()
    decision = Decision.APPROVE if said in _YES else Decision.DENY
    return Answer(decision, "terminal", now_ms())


async def _line() -> str:
    # No thread: one that reads a terminal cannot be stopped, and this must stop with the run.
    loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
    readable = asyncio.Event()
    loop.add_reader(number, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(number)
    return os.read(number, _MAX_LINE_BYTES).decode(errors="replace")
