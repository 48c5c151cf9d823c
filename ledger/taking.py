"""
From an inbox entry to a leaf: what the sequencer makes of a run's tape.

Runs in: sequencer. Trusts: nothing of what it reads but that Redis gave it. Refuses: to stop at
anything malformed: what cannot be read is `null` in the leaf, and the leaf is written all the same.
May import: stdlib, orjson, core, ledger.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from ledger.archive import Payload, TapeLine
from ledger.called import Called
from ledger.leaves import VERSION, LeafKind, commit, leaf, quoted_terms
from ledger.merkle import leaf_hash, root_of

SALT_BYTES = 32
_HEX_256 = re.compile(r"[0-9a-f]{64}")
_MAX_FACT_CHARS = 200
_MAX_WORKERS = 16
_MAX_FACTS = 12
_MAX_NAME_CHARS = 40
_CALL = ("seq", "name", "account", "effect_class", "effect", "ok", "status", "duration_ms")
#: What a line quotes of its entry's body, by kind, so that it stays when the body is deleted.
FACTS: Mapping[str, tuple[str, ...]] = {
    "started": ("attempt", "worker"),
    "waiting": (*_CALL, "for", "until_ms"),
    "answered": ("seq", "decision", "by", "at_ms"),
    "intent": _CALL,
    "effect": _CALL,
    "finished": ("attempt", "reason"),
}


class Sealer(Protocol):
    """Seals payloads with a tenant's data key, if there is a master key."""

    def begin(self, epoch: int) -> None:
        """Get ready for the sequencer of this epoch."""
        ...

    def seal(self, tenant: str, payload_id: str, data: bytes) -> tuple[str, bytes]:
        """Give the data key's id and what to store; an empty id if it is in the clear."""
        ...


class InTheClear:
    """Seals nothing: no master key is configured."""

    def begin(self, epoch: int) -> None:
        """Do nothing."""

    def seal(self, _tenant: str, _payload_id: str, data: bytes) -> tuple[str, bytes]:
        """Give the bytes as they are."""
        return "", data


def new_tape_id() -> str:
    """Make the id under which the archive has a tape."""
    # In order of time: what is appended to an index at its end costs a fraction.
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@dataclass(frozen=True, slots=True)
class Ended:
    """A `run.finished` entry of the inbox. `last_seq` is the number of the tape's last entry."""

    inbox_id: str
    run: str
    tenant: str
    last_seq: int
    at_ms: int
    ttl_s: int


@dataclass(slots=True)
class TapeTaking:
    """One tape on its way into the archive, entry by entry, in order."""

    ended: Ended
    sealer: Sealer
    id: str = field(default_factory=new_tape_id)
    hashes: list[bytes] = field(default_factory=list)
    #: Digest of what the script saw of the integrations, if an entry says.
    surface_sha256: str | None = None
    #: Which of `payload_ids` the archive has.
    kept: list[str] = field(default_factory=list)
    _seqs: list[int] = field(default_factory=list)
    _first: Mapping[str, Any] = field(default_factory=dict)
    _last: Mapping[str, Any] = field(default_factory=dict)
    _workers: dict[str, None] = field(default_factory=dict)
    _effects: Counter[str] = field(default_factory=Counter)
    _open: set[Any] = field(default_factory=set)
    _called: Called = field(default_factory=Called)

    def take(self, seq: int, fields: Mapping[bytes, bytes]) -> tuple[TapeLine, Payload]:
        """Make an entry's line and payload of its fields in Redis."""
        kind, body = _text(fields.get(b"kind", b"")), fields.get(b"body", b"")
        read = _object(body)
        names = [name for name in FACTS.get(kind, ()) if name in read]
        facts = {name: read[name] for name in names if _is_fact(read[name])}
        salted = secrets.token_bytes(SALT_BYTES) + body
        at_ms = _number(fields.get(b"at_ms", b""))
        line = {
            "v": VERSION,
            "run": self.ended.run,
            "seq": seq,
            "kind": kind,
            "at_ms": at_ms,
            "body": hashlib.sha256(salted).hexdigest(),
            "facts": facts,
        }
        data = orjson.dumps(line, option=orjson.OPT_SORT_KEYS)
        self.hashes.append(leaf_hash(data))
        self._seqs.append(seq)
        self._note(kind, read, facts)
        payload_id = f"tape/{self.id}/{seq}"
        key_id, sealed = self.sealer.seal(self.ended.tenant, payload_id, salted)
        payload = Payload(payload_id, self.ended.tenant, self.ended.run, at_ms or 0, key_id, sealed)
        return TapeLine(self.id, seq, data), payload

    def ended_with(self) -> dict[str, str]:
        """Give the digests of result and output, as far as the last entry has them."""
        digests = {name: self._last.get(f"{name}_sha256") for name in ("result", "output")}
        return {name: str(digest) for name, digest in digests.items() if _is_sha256(digest)}

    def payload_ids(self) -> dict[str, str]:
        """Give the payloads that belong to the run beside its tape, by what they are."""
        tenant, script = self.ended.tenant, self._first.get("script_sha256")
        ids = {"input": f"input/{self.ended.run}"}
        ids |= {name: f"{name}/{self.id}" for name in ("result", "output")}
        if _is_sha256(script):
            ids["script"] = f"script/{tenant}/{script}"
        if self.surface_sha256 is not None:
            ids["surface"] = f"surface/{tenant}/{self.surface_sha256}"
        return ids

    def leaf(self) -> bytes:
        """Write the leaf of the run's end, when all entries were taken."""
        salt = self._first.get("salt")
        salted = str(salt) if _is_sha256(salt) else None
        digests = {
            "input": self._first.get("input_sha256"),
            "result": self._last.get("result_sha256"),
            "output": self._last.get("output_sha256"),
        }
        return leaf(
            LeafKind.RUN_FINISHED,
            self.ended.run,
            tenant=self.ended.tenant,
            at_ms=self.ended.at_ms,
            **terms_of(self._first),
            **{name: _commit(salted, name, digest) for name, digest in digests.items()},
            reason=_fact(self._last.get("reason")),
            attempt=_fact(self._last.get("attempt")),
            usage=some_facts(self._last.get("usage")),
            versions=some_facts(self._last.get("versions")),
            workers=list(self._workers),
            calls=dict(self._effects) | {"open": len(self._open)},
            called=self._called.to_json(),
            surface_sha256=self.surface_sha256,
            kept=self.kept,
            tape=self._tape(),
        )

    def _tape(self) -> dict[str, Any] | None:
        if not self.hashes:
            return None
        return {
            "id": self.id,
            "entries": len(self.hashes),
            "root": root_of(self.hashes).hex(),
            "whole": self._seqs == list(range(1, self.ended.last_seq + 1)),
        }

    def _note(self, kind: str, body: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        if _is_sha256(body.get("surface_sha256")):
            self.surface_sha256 = body["surface_sha256"]
        if not self._first and kind == "accepted":
            self._first = body
        elif kind == "finished":
            self._last = body
        elif kind == "started" and len(self._workers) < _MAX_WORKERS:
            self._workers[str(facts.get("worker"))] = None
        elif kind == "intent":
            self._open.add(facts.get("seq"))
            self._called.note(facts.get("seq"), facts.get("name"))
        elif kind == "effect":
            self._open.discard(facts.get("seq"))
            self._effects[known_effect(facts.get("effect"))] += 1


def known_effect(effect: Any) -> str:
    """Give the word under which a call is counted."""
    return effect if effect in _EFFECTS else "other"


_EFFECTS = ("succeeded", "failed", "denied", "unknown", "planned")


def _commit(salt: str | None, label: str, digest: Any) -> str | None:
    return None if salt is None or not _is_sha256(digest) else commit(salt, label, digest)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and _HEX_256.fullmatch(value) is not None


def _object(body: bytes) -> dict[str, Any]:
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return read if isinstance(read, dict) else {}


def terms_of(first: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the leaf of a run's end says of its terms, by the body of its first entry."""
    return quoted_terms({name: _term(name, one) for name, one in first.items()})


def _term(name: str, value: Any) -> Any:
    return value if name in {"limits", "grants"} else _fact(value)


def _is_fact(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_FACT_CHARS
    return value is None or isinstance(value, bool | int | float)


def _fact(value: Any) -> Any:
    return value if _is_fact(value) else None


def some_facts(value: Any) -> dict[str, Any] | None:
    """Give what a leaf quotes of a small object; None of one that is none, or not small."""
    if not isinstance(value, dict) or len(value) > _MAX_FACTS:
        return None
    return {
        name: fact
        for name, fact in value.items()
        if len(name) <= _MAX_NAME_CHARS and _is_fact(fact)
    }


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) < 19 else None


def _text(data: bytes) -> str:
    return data[:_MAX_FACT_CHARS].decode("utf-8", "replace")


def read_ended(inbox_id: str, fields: Mapping[bytes, bytes]) -> Ended:
    """Read a `run.finished` entry of the inbox; what is no number reads as 0."""
    return Ended(
        inbox_id=inbox_id,
        run=_text(fields.get(b"run", b"")),
        tenant=_text(fields.get(b"tenant", b"")),
        last_seq=_number(fields.get(b"seq", b"")) or 0,
        at_ms=_number(fields.get(b"at_ms", b"")) or 0,
        ttl_s=_number(fields.get(b"ttl_s", b"")) or 0,
    )
