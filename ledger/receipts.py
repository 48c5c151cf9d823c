"""
Receipts: what the ledger says of one run, with the proofs that it says so.

Runs in: api, CLI. Trusts: nothing: a receipt is checked against the log's public key alone.
Refuses: another tenant's run, as if there were none. May import: stdlib, core, ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import Invalid
from ledger.archive import ArchiveReader, Found
from ledger.leaves import LeafKind, read_leaf
from ledger.log_keys import Verifier
from ledger.merkle import leaf_hash, root_of, verify_inclusion
from ledger.notes import Checkpoint
from ledger.tiles import prove_inclusion

VERSION = 1


def make_receipt(archive: ArchiveReader, run: str, tenant: str) -> dict[str, Any] | None:
    """
    Give the receipt of an ended run; None as long as its end is under no checkpoint.

    Raises:
        LedgerDamaged: the archive does not hold what it has to.
    """
    found = [one for one in archive.find(run) if _is_of(one, run, tenant)]
    note = archive.checkpoint()
    if note is None:
        return None
    size = _unsigned(note).size
    covered = [one for one in found if one.index < size]
    ends = [one for one in covered if read_leaf(one.data)["kind"] == LeafKind.RUN_FINISHED]
    if not ends:
        return None
    tape = read_leaf(ends[-1].data).get("tape") or {}
    return {
        "v": VERSION,
        "run": run,
        "checkpoint": note,
        "leaves": [
            {
                "index": one.index,
                "leaf": one.data.decode(),
                "proof": [step.hex() for step in prove_inclusion(archive.tile, one.index, size)],
            }
            for one in covered
        ],
        "tape": [line.decode() for line in archive.tape(tape["id"])] if "id" in tape else [],
    }


def check_receipt(receipt: Mapping[str, Any], key: Verifier | None) -> Checkpoint:
    """
    Check a receipt from outside; give the checkpoint under which it holds.

    Without a `key` nobody has looked at the checkpoint's signature: then the receipt only agrees
    with itself.

    Raises:
        Invalid: it does not hold; the message says what does not.
    """
    try:
        if receipt["v"] != VERSION:
            raise Invalid("the receipt is of a version that this does not read")
        note = receipt["checkpoint"]
        checkpoint = _unsigned(note) if key is None else key.open(note)
        finished: dict[str, Any] = {}
        for one in receipt["leaves"]:
            data, index = one["leaf"].encode(), one["index"]
            proof = [_step(step) for step in one["proof"]]
            hashed, size = leaf_hash(data), checkpoint.size
            if not verify_inclusion(hashed, index, size, proof, checkpoint.root):
                raise Invalid(f"leaf {index} is not in the log as it was signed")
            fields = read_leaf(data)
            if fields.get("id") != receipt["run"]:
                raise Invalid(f"leaf {index} is about something else than {receipt['run']}")
            if fields.get("kind") == LeafKind.RUN_FINISHED:
                finished = fields
        if not finished:
            raise Invalid("there is no leaf of the run's end")
        _check_tape(finished.get("tape") or {}, [line.encode() for line in receipt["tape"]])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Invalid("this is no receipt") from None
    return checkpoint


def finished_leaf(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Give the leaf of the run's end of a receipt that was checked."""
    found = [read_leaf(one["leaf"].encode()) for one in receipt["leaves"]]
    return [one for one in found if one.get("kind") == LeafKind.RUN_FINISHED][-1]


def _unsigned(note: str) -> Checkpoint:
    return Checkpoint.parse(note.partition("\n\n")[0] + "\n")


def _check_tape(named: Mapping[str, Any], lines: list[bytes]) -> None:
    root = root_of(map(leaf_hash, lines)).hex() if lines else None
    if (named.get("root"), named.get("entries", 0)) != (root, len(lines)):
        raise Invalid("the tape's lines are not those whose root is in the leaf")


def _is_of(found: Found, run: str, tenant: str) -> bool:
    # The bytes decide, not the columns by which the leaf was found.
    fields = read_leaf(found.data)
    return fields.get("id") == run and fields.get("tenant") == tenant


def _step(text: str) -> bytes:
    """Read a hash of a proof; there is one way to write it."""
    step = bytes.fromhex(text)
    if step.hex() != text:
        raise ValueError("a hash is written in small letters")
    return step
