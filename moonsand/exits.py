"""What the exit code of the `moonsand` command says."""

from __future__ import annotations

from enum import IntEnum

from runs.model import RunResult, State
from sandbox.outcome import OUR_FAULT


class Exit(IntEnum):
    """Exit codes of every command."""

    SUCCEEDED = 0
    FAILED = 1  # the script failed, or a check said no
    USAGE = 2  # nothing was run: the command line or a file it names is wrong
    OURS = 3  # our fault or the host's
    INTERRUPTED = 130  # Ctrl-C, as shells report it


class UsageFault(Exception):
    """The command line, or a file it names, is wrong; the message is one line."""


def of_result(result: RunResult) -> Exit:
    """Give the exit code that tells how a run ended."""
    if result.status is State.SUCCEEDED:
        return Exit.SUCCEEDED
    return Exit.OURS if result.reason in OUR_FAULT else Exit.FAILED
