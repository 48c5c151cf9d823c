"""
The `moonsand` command.

Each command's own module imports what is heavy inside the command, so that `--help` and errors
come at once.
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
from moonsand.commands import (
    approvals,
    audit,
    batch,
    callbacks,
    check,
    connections,
    credentials,
    documentation,
    grants,
    hooks,
    integrations,
    keys,
    ledger,
    limits,
    local,
    mcp,
    plan,
    receipt,
    remote,
    replay,
    run,
    runs,
    schedules,
    scripts,
    service,
    syncs,
    tenants,
    usage,
)
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import write_error

app = typer.Typer(
    name="moonsand",
    help="Runs untrusted Lua for AI agents, safely, at scale, with proof of what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    run.run,
    check.check,
    service.serve,
    service.api,
    service.worker,
    service.scheduler,
    service.sequencer,
    remote.submit,
    remote.logs,
    remote.cancel,
    plan.apply,
    replay.replay,
    receipt.receipt,
    usage.usage,
    local.doctor,
    local.stubs,
    local.demo,
    local.version,
):
    app.command(command.__name__)(command)
app.add_typer(runs.app, name="runs")
app.add_typer(scripts.app, name="scripts")
app.add_typer(schedules.app, name="schedules")
app.add_typer(batch.app, name="batch")
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")
app.add_typer(limits.app, name="limits")
app.add_typer(approvals.app, name="approvals")
app.add_typer(ledger.app, name="ledger")
app.add_typer(plan.app, name="plan")
app.add_typer(audit.app, name="audit")
app.add_typer(mcp.app, name="mcp")
app.add_typer(credentials.app, name="credentials")
app.add_typer(grants.app, name="grants")
app.add_typer(connections.app, name="connections")
app.add_typer(syncs.app, name="syncs")
app.add_typer(hooks.app, name="hooks")
app.add_typer(callbacks.app, name="callbacks")
app.add_typer(integrations.app, name="integrations")
app.add_typer(documentation.app, name="docs")
#: What says that a disk or device takes no more: no bug of ours.
_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


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
