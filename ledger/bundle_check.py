"""
Whether a bundle is what its digests and its receipt say.

Runs in: CLI. Trusts: the log's public key, if one is given. Refuses: a bundle of which any part is
not the one whose digest stands in the tape, or whose tape is not the one in the ledger.
May import: stdlib, orjson, core, ledger.

The receipt binds the tape's lines; a line binds its entry's body; the bodies bind all else by
SHA-256. Without a receipt only the last of these can be checked, and that proves no more than that
the bundle agrees with itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from core.errors import Invalid
from ledger.bundle import TOLD_BY_DIGEST, Bundle, BundleEntry
from ledger.leaves import commit
from ledger.log_keys import Verifier
from ledger.receipts import check_receipt, finished_leaf
from ledger.tape import Entry, Kind

#: Where the digest of a part stands: kind of entry, and name in its body.
_DIGESTS = {
    "script": (Kind.ACCEPTED, "script_sha256"),
    "input": (Kind.ACCEPTED, "input_sha256"),
    "result": (Kind.FINISHED, "result_sha256"),
    "output": (Kind.FINISHED, "output_sha256"),
}
_COMMITTED = ("input", "result", "output")
_SALT_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Proved:
    """
    How far a bundle is proved.

    `log` is the log whose receipt it has, None if it has none; `signed` tells whether the
    checkpoint's signature was checked. `unbound` are the numbers of entries that are not bound to
    the receipt: their salts are missing, or something was taken out of them.
    """

    log: str | None
    signed: bool
    unbound: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """A bundle that was checked, its entries read."""

    bundle: Bundle
    entries: list[Entry]
    accepted: Mapping[str, Any]
    finished: Mapping[str, Any]
    proved: Proved


def check_bundle(bundle: Bundle, key: Verifier | None = None) -> Checked:
    """
    Check every digest of a bundle, and with `key` the signature under its receipt.

    Raises:
        Invalid: something in it is not what it is said to be; the message says what.
    """
    entries = [_read(number, entry) for number, entry in enumerate(bundle.entries, 1)]
    if not entries or entries[0].kind is not Kind.ACCEPTED or entries[-1].kind is not Kind.FINISHED:
        raise Invalid("the tape in the bundle is not that of a run from its acceptance to its end")
    accepted, finished = entries[0].body, entries[-1].body
    _check_texts(bundle, entries)
    proved = _prove(bundle, key)
    if bundle.receipt is not None:
        _check_leaf(finished_leaf(bundle.receipt), bundle, accepted)
    return Checked(bundle, entries, accepted, finished, proved)


def line_facts(line: str) -> tuple[str, int]:
    """Give kind and time of a tape's line in a receipt."""
    fields = _object(line)
    kind, at_ms = fields.get("kind"), fields.get("at_ms")
    return kind if isinstance(kind, str) else "", at_ms if isinstance(at_ms, int) else 0


def _read(number: int, entry: BundleEntry) -> Entry:
    if entry.seq != number:
        raise Invalid(f"entry {number} of the tape is missing in the bundle")
    try:
        body = orjson.loads(entry.body)
        kind = Kind(entry.kind)
    except ValueError:
        body, kind = None, Kind.ACCEPTED
    if not isinstance(body, dict):
        raise Invalid(f"entry {number} of the tape cannot be read by this version")
    return Entry(entry.seq, kind, entry.at_ms, body)


def _check_texts(bundle: Bundle, entries: list[Entry]) -> None:
    by_kind = {entry.kind: entry.body for entry in entries}
    for name, (kind, field) in _DIGESTS.items():
        _check_text(bundle, name, by_kind[kind].get(field))
    seen = [entry.body["surface_sha256"] for entry in entries if entry.body.get("surface_sha256")]
    _check_text(bundle, "surface", seen[0] if seen else None)


def _check_text(bundle: Bundle, name: str, sha256: Any) -> None:
    data = bundle.texts.get(name)
    if data is None and isinstance(sha256, str) and sha256 in TOLD_BY_DIGEST:
        bundle.texts[name] = TOLD_BY_DIGEST[sha256]
    elif data is not None and _sha256(data) != sha256:
        raise Invalid(f"the {name} in the bundle is not the one whose digest is on the tape")


def _prove(bundle: Bundle, key: Verifier | None) -> Proved:
    receipt = bundle.receipt
    if receipt is None:
        return Proved(None, signed=False, unbound=tuple(one.seq for one in bundle.entries))
    checkpoint = check_receipt(receipt, key)
    if receipt.get("run") != bundle.run:
        raise Invalid("the receipt in the bundle is of another run")
    lines = receipt["tape"]
    if len(lines) != len(bundle.entries):
        raise Invalid(
            f"the bundle has {len(bundle.entries)} entries of the tape, the ledger {len(lines)}"
        )
    unbound = []
    for entry, line in zip(bundle.entries, lines, strict=True):
        if not _is_bound(bundle.run, entry, _object(line)):
            unbound.append(entry.seq)
    return Proved(checkpoint.origin, signed=key is not None, unbound=tuple(unbound))


def _is_bound(run: str, entry: BundleEntry, line: Mapping[str, Any]) -> bool:
    """Hold an entry to its line; give False when its body cannot be held to anything."""
    told = (run, entry.seq, entry.kind, entry.at_ms)
    if tuple(line.get(name) for name in ("run", "seq", "kind", "at_ms")) != told:
        raise Invalid(f"entry {entry.seq} of the bundle is not that of the ledger")
    if not entry.salt or entry.redacted:
        _check_facts(entry, line.get("facts"))
        return False
    try:
        salt = bytes.fromhex(entry.salt)
    except ValueError:
        salt = b""
    digest = hashlib.sha256(salt + entry.body).hexdigest()
    well_formed = salt.hex() == entry.salt and len(entry.salt) == _SALT_DIGITS
    if not well_formed or digest != line.get("body"):
        raise Invalid(
            f"entry {entry.seq} of the bundle ({entry.kind}) is not the one that the ledger binds:"
            " it was changed"
        )
    return True


def _check_facts(entry: BundleEntry, facts: Any) -> None:
    """Hold an entry whose body is not bound to what its line quotes of it."""
    body = _object(entry.body)
    if not isinstance(facts, dict) or any(body.get(name) != facts[name] for name in facts):
        raise Invalid(f"entry {entry.seq} of the bundle is not that of the ledger")


def _check_leaf(leaf: Mapping[str, Any], bundle: Bundle, accepted: Mapping[str, Any]) -> None:
    """Hold what the leaf says by itself, which binds also where salts of entries are missing."""
    for name in ("script", "surface"):
        sha256, data = leaf.get(f"{name}_sha256"), bundle.texts.get(name)
        if data is not None and sha256 is not None and _sha256(data) != sha256:
            raise Invalid(f"the {name} in the bundle is not the one in the ledger")
    salt = accepted.get("salt")
    if not isinstance(salt, str) or len(salt) != _SALT_DIGITS:
        return
    for name in _COMMITTED:
        data = bundle.texts.get(name)
        if data is None or leaf.get(name) is None:
            continue
        try:
            committed = commit(salt, name, _sha256(data))
        except ValueError:
            raise Invalid("the salt of the run in the bundle is none") from None
        if committed != leaf[name]:
            raise Invalid(f"the {name} in the bundle is not the one in the ledger")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _object(line: Any) -> Mapping[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Invalid("the receipt in the bundle has a line that cannot be read")
    return found
