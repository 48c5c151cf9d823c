"""`moonsand replay`: a run executed again over its tape, in the jail, with nothing outside."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand import connection
from moonsand.exits import Exit
from moonsand.terminal import write_error

if TYPE_CHECKING:
    from ledger.bundle_check import Checked
    from ledger.log_keys import LogKeys
    from worker.replay_report import Report

Archive = Annotated[
    Path | None,
    typer.Option(
        "--archive",
        help="Directory of a ledger's archive (default: MOONSAND_LEDGER_DIR, or the local one).",
    ),
]
LogKey = Annotated[
    str | None,
    typer.Option(
        "--log-key",
        help="Public key of the ledger, `<name>+<hash>+<base64>`: checks the receipt.",
    ),
]
_MAX_SCRIPT_BYTES = 1 << 20


def replay(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Id of a run, or a file of `runs export`; - is stdin."),
    ],
    script: Annotated[
        Path | None,
        typer.Option("--script", help="Another script: where does it leave the tape?"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    archive: Archive = None,
    log_key: LogKey = None,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Execute a run again over its tape and compare; nothing is sent anywhere.

    Exit code: 0 equal, 1 something differs, 2 nothing was executed, 3 our fault.
    """
    import orjson

    from ledger.bundle_check import check_bundle
    from moonsand.bundle_sources import Source, open_bundle
    from moonsand.replay_view import show

    verify = verify_key(log_key)
    changed = None if script is None else _read_script(script)
    bundle, where = open_bundle(run, Source(archive, url, key))
    report = asyncio.run(_replay(check_bundle(bundle, verify), changed))
    if as_json:
        document = {**report.to_json(), "source": where.split()[-1]}
        sys.stdout.write(f"{orjson.dumps(document).decode()}\n")
    else:
        show(report, where)
    return Exit.SUCCEEDED if report.equal else Exit.FAILED


def verify_key(text: str | None) -> LogKeys | None:
    """
    Read the keys of a ledger.

    Raises:
        Invalid: it is none.
    """
    from ledger.log_keys import LogKeys

    return None if text is None else LogKeys.parse(text)


def _read_script(path: Path) -> bytes:
    from core.errors import Invalid

    try:
        with path.open("rb") as file:
            return file.read(_MAX_SCRIPT_BYTES)
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None


async def _replay(checked: Checked, script: bytes | None) -> Report:
    from core.errors import Unavailable
    from integrations.replayed import Kind
    from sandbox.supervisor import Sandbox, SandboxUnavailable
    from worker.replay import read_recording, read_terms
    from worker.replay import replay as execute
    from worker.replay_report import compare

    terms = read_terms(checked)
    try:
        async with Sandbox(spares=1) as sandbox:
            found = await execute(terms, read_recording(checked), sandbox, script=script)
            was, left = None, found.departure
            if script is not None and left is not None and left.kind is not Kind.EXTRA:
                # The tape has only a digest of arguments: the old script tells them again.
                before = await execute(terms, read_recording(checked), sandbox, keep=left.seq)
                was = before.kept
    except SandboxUnavailable as missing:
        raise Unavailable(str(missing), hint="`moonsand doctor` says what is missing") from None
    if script is not None:
        write_error("nothing was sent: every reply came from the tape")
    return compare(checked, terms, found, changed_script=script is not None, was=was)
