"""The routes of the ledger: the newest checkpoint, and the receipt of a run."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from api.auth import Reader
from api.runs import check_run_id, find_run, only_known_parameters
from api.services import services_of
from core import keys
from core.errors import NotFound
from core.settings import Settings
from ledger.archives import open_archive
from ledger.receipts import make_receipt

_TEXT = "text/plain"

router = APIRouter(prefix="/v1", tags=["ledger"], dependencies=[Depends(only_known_parameters)])


class ReceiptLeaf(BaseModel):
    """One leaf of the run: its number, its exact text, and the proof of its place."""

    index: int
    leaf: str = Field(description="JSON as it was hashed; do not encode it again.")
    proof: list[str] = Field(description="RFC 6962 inclusion proof, hashes in hexadecimal.")


class Receipt(BaseModel):
    """What the ledger says of a run."""

    v: int
    run: str
    checkpoint: str = Field(description="C2SP signed note under which the proofs hold.")
    leaves: list[ReceiptLeaf]
    tape: list[str] = Field(description="Lines of the tape, exact text, without payloads.")


class PendingReceipt(BaseModel):
    """There is no receipt yet."""

    status: str = Field(description="`pending`.")
    run: str
    detail: str


@router.get(
    "/ledger/checkpoint",
    operation_id="ledger_checkpoint",
    summary="The newest checkpoint",
    response_class=Response,
    responses={
        200: {
            "description": "A C2SP signed note: origin, number of leaves, root, signature",
            "content": {_TEXT: {"schema": {"type": "string"}}},
        }
    },
)
async def ledger_checkpoint(request: Request, _key: Reader) -> Response:
    """Give the checkpoint that was signed last, as it was published."""
    note = await services_of(request).redis.get(keys.LEDGER_CHECKPOINT)
    if note is None:
        raise NotFound("no checkpoint was signed yet", hint="is `moonsand sequencer` running?")
    return Response(note, media_type=_TEXT, headers={"Cache-Control": "no-store"})


@router.get(
    "/runs/{run_id}/receipt",
    operation_id="get_receipt",
    summary="The receipt of a run",
    responses={
        200: {"model": Receipt, "description": "The run's leaves, proofs and tape"},
        202: {"model": PendingReceipt, "description": "Not yet: ask again"},
    },
)
async def get_receipt(request: Request, run_id: str, key: Reader) -> Response:
    """Give the proof of what became of a run, once a checkpoint covers its end."""
    check_run_id(run_id)
    services = services_of(request)
    found = await to_thread.run_sync(partial(_read, services.settings, run_id, key.tenant))
    if found is not None:
        return Response(orjson.dumps(found), media_type="application/json")
    run = await find_run(services, key.tenant, run_id)
    detail = "its end waits to be sequenced and signed; ask again in a few seconds"
    if not run.status.terminal:
        detail = f"the run is {run.status}; there is a receipt a few seconds after its end"
    pending = {"status": "pending", "run": run_id, "detail": detail}
    headers = {"Retry-After": "1"}
    return Response(orjson.dumps(pending), 202, headers, media_type="application/json")


def _read(settings: Settings, run: str, tenant: str) -> dict[str, Any] | None:
    archive = open_archive(settings)
    if archive is None:
        return None
    with closing(archive):
        return make_receipt(archive, run, tenant)
