"""
Leaves of the ledger: what each kind says, and the bytes it is.

Runs in: api, worker, sequencer, CLI. Trusts: its callers. Refuses: a leaf that no tile could hold.
May import: stdlib, orjson, core.

A leaf is written once, as JSON with sorted names, and these bytes are what is stored and hashed;
nobody encodes it again. It can never be deleted, so that it holds no text a user chose and no
digest that could be guessed at: `commit` binds a value without telling it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson

from core.errors import Invalid

VERSION = 1
#: A C2SP entry bundle gives the length of an entry in 16 bits.
MAX_LEAF_BYTES = 65_535
#: JSON text of grants and limits that a leaf quotes; of longer ones it has the digest.
_MAX_QUOTED_BYTES = 8_192
_SALT_BYTES = 32


class LeafKind(StrEnum):
    """What happened. New kinds may be added; none is ever renamed."""

    RUN_ACCEPTED = "run.accepted"
    RUN_FINISHED = "run.finished"
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_ANSWERED = "approval.answered"
    KEY_CREATED = "key.created"
    KEY_CHANGED = "key.changed"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    TENANT_CREATED = "tenant.created"
    TENANT_SUSPENDED = "tenant.suspended"
    TENANT_RESUMED = "tenant.resumed"
    TENANT_DELETED = "tenant.deleted"
    CREDENTIAL_SET = "credential.set"
    CREDENTIAL_DELETED = "credential.deleted"
    CREDENTIALS_ERASED = "credentials.erased"
    VAULT_REWRAPPED = "vault.rewrapped"
    GRANTS_CHANGED = "grants.changed"
    PLAN_APPROVED = "plan.approved"
    PACKS_CHANGED = "packs.changed"
    LIMITS_CHANGED = "limits.changed"
    HOOK_CHANGED = "hook.changed"
    CALLBACK_CHANGED = "callback.changed"
    CONNECTION_CHANGED = "connection.changed"
    SYNC_CHANGED = "sync.changed"
    SCHEDULE_CHANGED = "schedule.changed"
    LOG_ROTATED = "log.rotated"
    PAYLOADS_DELETED = "payloads.deleted"
    UNREADABLE = "inbox.unreadable"


def encode(fields: Mapping[str, Any]) -> bytes:
    """
    Write a leaf.

    Raises:
        Invalid: it has more than `MAX_LEAF_BYTES`.
    """
    text = orjson.dumps(dict(fields), option=orjson.OPT_SORT_KEYS)
    if len(text) > MAX_LEAF_BYTES:
        raise Invalid(f"a ledger leaf has {len(text)} bytes; at most {MAX_LEAF_BYTES} are allowed")
    return text


def leaf(kind: LeafKind, subject: str, *, tenant: str, at_ms: int, **facts: Any) -> bytes:
    """
    Write a leaf of any kind.

    Args:
        kind: what happened.
        subject: id of what it happened to: a run, a key, `mux.default`.
        tenant: whose it is; empty for a change of the whole service.
        at_ms: when, in Unix milliseconds.
        facts: what else is to be kept for ever; nothing secret, and no text that a user chose.
    """
    head = {"v": VERSION, "kind": kind.value, "id": subject, "tenant": tenant, "at_ms": at_ms}
    return encode({**facts, **head})


def read_leaf(data: bytes) -> dict[str, Any]:
    """Read a leaf; one that is no JSON object, as a forger may have written, reads as empty."""
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def accepted_leaf(run_id: str, at_ms: int, body: Mapping[str, Any]) -> bytes:
    """Write that a run was accepted; `body` is that of its tape's first entry."""
    origin = {"origin": body["origin"]} if "origin" in body else {}
    return leaf(
        LeafKind.RUN_ACCEPTED,
        run_id,
        tenant=body["tenant"],
        at_ms=at_ms,
        input=commit(body["salt"], "input", body["input_sha256"]),
        **quoted_terms(body),
        **origin,
    )


def quoted_terms(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give what both leaves of a run say of its terms."""
    return {
        "key": body.get("key_id"),
        "script_sha256": body.get("script_sha256"),
        "seed": body.get("seed"),
        "mode": body.get("mode"),
        "limits": _quote(body.get("limits")),
        "grants": _quote(without_schemas(body.get("grants"))),
    }


def without_schemas(grants: Any) -> Any:
    """Give grants without the schemas of arguments: those hold texts that a user chose."""
    if isinstance(grants, list):
        return [without_schemas(one) for one in grants]
    if not isinstance(grants, dict):
        return grants
    return {
        name: "limited" if name == "arguments" else without_schemas(one)
        for name, one in grants.items()
    }


def new_salt() -> str:
    """Make the salt of a run: 256 random bits, in hexadecimal."""
    return secrets.token_hex(_SALT_BYTES)


def commit(salt: str, label: str, sha256: str) -> str:
    """
    Bind a value by its SHA-256, without letting anybody guess it who does not have the salt.

    It is HMAC-SHA-256 with the salt's 32 bytes as its key, over `label:` and the digest in
    hexadecimal.
    """
    message = f"{label}:{sha256}".encode()
    return hmac.new(bytes.fromhex(salt), message, hashlib.sha256).hexdigest()


def _quote(value: Any) -> Any:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if len(text) <= _MAX_QUOTED_BYTES:
        return value
    return {"sha256": hashlib.sha256(text).hexdigest()}
