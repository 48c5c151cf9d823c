"""
The `moonsand` command.

Only the module of the command that is asked for is imported, and what is heavy inside the command,
so that its `--help` and its errors come at once.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from core.errors import Refused, ServiceError
from moonsand import streams
from moonsand.colons import spelled_out
from moonsand.exits import Exit, UsageFault
from moonsand.lazy_commands import lazy_group
from moonsand.terminal import write_error

#: Where each command is, in the order of `--help`: a function, or a group of commands.
_COMMANDS = {
    "run": "moonsand.commands.run:run",
    "check": "moonsand.commands.check:check",
    "serve": "moonsand.commands.service:serve",
    "api": "moonsand.commands.service:api",
    "worker": "moonsand.commands.service:worker",
    "scheduler": "moonsand.commands.service:scheduler",
    "sequencer": "moonsand.commands.service:sequencer",
    "submit": "moonsand.commands.remote:submit",
    "logs": "moonsand.commands.remote:logs",
    "cancel": "moonsand.commands.remote:cancel",
    "apply": "moonsand.commands.plan:apply",
    "replay": "moonsand.commands.replay:replay",
    "receipt": "moonsand.commands.receipt:receipt",
    "quotas": "moonsand.commands.quotas:quotas",
    "usage": "moonsand.commands.usage:usage",
    "doctor": "moonsand.commands.local:doctor",
    "stubs": "moonsand.commands.local:stubs",
    "demo": "moonsand.commands.local:demo",
    "version": "moonsand.commands.local:version",
    "runs": "moonsand.commands.runs:app",
    "scripts": "moonsand.commands.scripts:app",
    "schedules": "moonsand.commands.schedules:app",
    "batch": "moonsand.commands.batch:app",
    "keys": "moonsand.commands.keys:app",
    "tenants": "moonsand.commands.tenants:app",
    "limits": "moonsand.commands.limits:app",
    "approvals": "moonsand.commands.approvals:app",
    "ledger": "moonsand.commands.ledger:app",
    "plan": "moonsand.commands.plan:app",
    "audit": "moonsand.commands.audit:app",
    "mcp": "moonsand.commands.mcp:app",
    "credentials": "moonsand.commands.credentials:app",
    "grants": "moonsand.commands.grants:app",
    "connections": "moonsand.commands.connections:app",
    "syncs": "moonsand.commands.syncs:app",
    "hooks": "moonsand.commands.hooks:app",
    "callbacks": "moonsand.commands.callbacks:app",
    "integrations": "moonsand.commands.integrations:app",
    "docs": "moonsand.commands.documentation:app",
}
app = typer.Typer(
    name="moonsand",
    cls=lazy_group(_COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
#: What says that a disk or device takes no more: no bug of ours.
_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@app.callback()
def moonsand() -> None:
    """Runs untrusted Lua for AI agents, safely, at scale, with proof of what happened."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code; every error of ours is one line."""
    streams.prepare()
    try:
        given = sys.argv[1:] if arguments is None else arguments
        if "--help" not in given:
            _configure_logs()
        code = app(spelled_out(given), standalone_mode=False)
    except UsageFault as fault:
        code = _complain(str(fault), Exit.USAGE)
    except TyperException as error:  # an unknown option, a value out of range, a missing argument
        code = _complain(_without_values(error.format_message()), Exit.USAGE)
    except ServiceError as error:
        code = _complain(error.detail, Exit.USAGE if isinstance(error, Refused) else Exit.OURS)
        if error.hint:
            write_error(f"hint: {error.hint}")
    except (typer.Abort, KeyboardInterrupt):
        code = Exit.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left
        code = Exit.FAILED
    except Exception as error:  # noqa: BLE001 (the last resort: a bug of ours, and it must say so)
        code = Exit.OURS if streams.output_is_lost() else _internal_error(error)
    sys.exit(streams.finish(code or Exit.SUCCEEDED))


def _configure_logs() -> None:
    # Left as it is, structlog writes to stdout, and with each error the values of all variables.
    from core.logs import configure_logs  # noqa: PLC0415 (heavy)

    configure_logs("warning")


def _without_values(message: str) -> str:
    # What stands where nothing belongs may be a secret.
    excess = message.startswith("Got unexpected extra argument")
    return "there are more arguments than the command takes; see --help" if excess else message


def _internal_error(error: Exception) -> Exit:
    if isinstance(error, OSError) and error.errno in _NO_PLACE:
        return _complain(f"the output could not be written: {error.strerror}", Exit.OURS)
    with suppress(OSError):
        traceback.print_exc()
    return _complain("internal error; the lines above say where", Exit.OURS)


def _complain(message: str, code: Exit) -> Exit:
    write_error(f"moonsand: {' '.join(message.split())}")
    return code
