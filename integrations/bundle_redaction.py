"""
Taking out of a bundle what looks like a secret in replies, so that it can be given to others.

What was taken out of a reply is named, so that a replay can say where that limits it. An entry that
was changed is not bound to the ledger any more, and says so. The same texts are taken out of the
rest of the tape, and result and output are left out if they have one of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from core.errors import Invalid
from integrations.redaction import REDACTED, is_secret_key, scrub_text
from ledger.bundle import Bundle, BundleEntry
from ledger.tape import Kind

#: Shorter ones are found in every other word.
_LEAST_CHARS = 6
_GIVEN_BACK = ("result", "output")


def redacted(bundle: Bundle) -> Bundle:
    """
    Give the bundle without the values of such names in replies.

    Raises:
        Invalid: an entry of its tape is not what a tape holds.
    """
    secrets: set[str] = set()
    try:
        entries = [_entry(one, secrets) for one in bundle.entries]
    except (ValueError, KeyError, TypeError):
        raise Invalid("the tape in the bundle cannot be read") from None
    texts = {
        name: data
        for name, data in bundle.texts.items()
        if name not in _GIVEN_BACK or _scrubbed(data, secrets) == data
    }
    return replace(bundle, entries=[_rest(one, secrets) for one in entries], texts=texts)


def _entry(entry: BundleEntry, secrets: set[str]) -> BundleEntry:
    if entry.kind != Kind.EFFECT:
        return entry
    body = orjson.loads(entry.body)
    pointers: list[str] = []
    shown = _shown(orjson.loads(body["reply"]), "", pointers, secrets)
    if not pointers:
        return entry
    body["reply"] = orjson.dumps(shown).decode()
    told = (*entry.redacted, *pointers)
    return replace(entry, body=orjson.dumps(body), salt="", redacted=told)


def _rest(entry: BundleEntry, secrets: set[str]) -> BundleEntry:
    body = _scrubbed(entry.body, secrets)
    if body == entry.body:
        return entry
    return replace(entry, body=body, salt="", redacted=(*entry.redacted, ""))


def _scrubbed(data: bytes, secrets: set[str]) -> bytes:
    return scrub_text(data.decode(), secrets).encode()


def _shown(value: Any, pointer: str, pointers: list[str], secrets: set[str]) -> Any:
    if isinstance(value, list):
        whole = enumerate(value)
        return [_shown(one, f"{pointer}/{at}", pointers, secrets) for at, one in whole]
    if not isinstance(value, dict):
        return value
    shown = {}
    for name, one in value.items():
        part = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if is_secret_key(name) and one not in (None, REDACTED):
            pointers.append(part)
            shown[name] = REDACTED
            if isinstance(one, str) and len(one) >= _LEAST_CHARS:
                secrets.add(one)
        else:
            shown[name] = _shown(one, part, pointers, secrets)
    return shown
