"""`moonsand receipt`: what the ledger says of a run, checked here if one asks for it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moonsand import audit_options, connection
from moonsand.exits import Exit
from moonsand.terminal import safe, write_error, write_output

if TYPE_CHECKING:
    from moonsand.client import AsyncClient

_WAIT_S = 60.0
_PAUSE_S = 1.0
_MAX_BYTES = 512 << 20


def receipt(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Id of a run, or a file with a receipt.")
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Wait up to a minute for it.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Check it here.")] = False,
    log_key: audit_options.PublicKey = None,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """
    Print the receipt of a run, as JSON.

    Exit code: 0 here it is, and with --verify it holds; 1 it does not hold, or is not there yet.
    """
    file = Path(run)
    found: dict[str, Any] | None
    if file.is_file():
        found = _read(file)
    else:
        found = asyncio.run(_ask(connection.open_client(url, key), run, wait=wait))
    if found is None:
        write_error(f"{run}: its end is not sequenced and signed yet; --wait waits for it")
        return Exit.FAILED
    if verify and not _holds(found, log_key):
        return Exit.FAILED
    write_output(f"{safe(json.dumps(found, ensure_ascii=False))}\n")
    return Exit.SUCCEEDED


async def _ask(client: AsyncClient, run: str, *, wait: bool) -> dict[str, Any] | None:
    end = time.monotonic() + _WAIT_S
    async with client:
        while True:
            found = await client.receipt(run)
            if found is not None or not wait or time.monotonic() > end:
                return found
            await asyncio.sleep(_PAUSE_S)


def _holds(found: dict[str, Any], log_key: str | None) -> bool:
    from core.errors import Invalid
    from core.settings import load_settings
    from ledger.receipts import check_receipt
    from moonsand.audit_inputs import public_key

    key = public_key(log_key, load_settings())
    try:
        checkpoint = check_receipt(found, key)
    except Invalid as error:
        write_error(f"NOT verified: {error.detail}")
        return False
    write_error(f"verified under the checkpoint of {checkpoint.size} entries of {key.name}")
    return True


def _read(file: Path) -> dict[str, Any]:
    from core.errors import Invalid

    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Invalid(f"{file} holds no receipt")
    return found
