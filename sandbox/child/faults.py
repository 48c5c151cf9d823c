"""
The words in which a run's end is told: message and hint of a FAILED frame.

Runs in: child. Trusts: the prelude's counts. Refuses: text that is not UTF-8 (it is replaced).
May import: stdlib, sandbox.reasons, sandbox.wire.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from sandbox import wire
from sandbox.reasons import Reason


class Ceiling(NamedTuple):
    """How a limit that the child counts is spoken of."""

    name: str
    unit: str
    layer: str
    hint: str


_CEILINGS: dict[Reason, Ceiling] = {
    Reason.INSTRUCTION_LIMIT: Ceiling(
        "instruction",
        "instructions",
        "count hook in the child",
        "Look for a loop that does not end, do less per run, or ask for more instructions.",
    ),
    Reason.MEMORY_LIMIT: Ceiling(
        "memory",
        "bytes of Lua heap",
        "allocator of the Lua state",
        "Keep less in memory at once: handle data in pages, drop what is done with.",
    ),
    Reason.OUTPUT_LIMIT: Ceiling(
        "output",
        "bytes of printed text",
        "print in the child",
        "Print less; return data as the result instead.",
    ),
    Reason.CALL_LIMIT: Ceiling(
        "call",
        "calls",
        "call counter in the child",
        "Make fewer calls, for example with larger pages, or ask for more calls.",
    ),
    Reason.RESULT_LIMIT: Ceiling(
        "result",
        "bytes of JSON",
        "result encoder in the child",
        "Return less: only the fields that are needed.",
    ),
}

# Parts of messages, and what to do about them. The first that is found counts.
_HINTS: tuple[tuple[str, str], ...] = (
    (
        "Unknown function: docs.",
        "docs.list() names the documents, docs.search(words) and docs.read(name) give them.",
    ),
    (
        "Unknown function: app.",
        "Only functions granted to this run exist; docs.list() names them.",
    ),
    (
        "Unknown integration: ",
        "Only integrations granted to this run exist; docs.list() names them.",
    ),
    ("Unknown name: app.", "Functions stand under app.integrations.<name>.<function>."),
    (
        "attempt to index a nil value",
        "What stands before the dot or bracket is nil: dump() it, or test it before use.",
    ),
    (
        "attempt to call a nil value",
        "No function has that name here; load, require, io and debug do not exist.",
    ),
    ("attempt to concatenate", "Only strings and numbers concatenate: use tostring(value)."),
    (
        "attempt to perform arithmetic on a string",
        "Strings are not converted in arithmetic: use tonumber(value).",
    ),
    ("attempt to perform arithmetic on a nil", "A field or variable in the sum is nil: test it."),
    ("attempt to compare", "Both sides must be numbers or both strings: use tonumber(value)."),
    ("stack overflow", "A function calls itself without end."),
    ("attempt to yield", "Callbacks of string.gsub cannot yield, nor can the script itself."),
    ("metatable field", "Finalizers, weak tables and to-be-closed values are not available."),
)

_BY_REASON: dict[Reason, str] = {
    Reason.SYNTAX_ERROR: "The script is Lua 5.4; mend the line that is named, or the one before.",
    Reason.INVALID_RESULT: "Return strings, numbers, booleans, and tables of them: either lists "
    "with the keys 1 to n, or tables with string keys.",
    Reason.DENIED: "The call was refused. Ask for the grant, or handle the refusal with pcall.",
}


def limit_message(reason: Reason, allowed: int) -> tuple[str, str]:
    """Give the message and the hint for a limit of which all that is allowed was used."""
    told = _CEILINGS[reason]
    amounts = f"used {allowed} of {allowed} allowed {told.unit}"
    return f"{told.name} limit reached: {amounts} (layer: {told.layer})", told.hint


def hint_for(reason: Reason, message: str) -> str | None:
    """Give what to do about an error of the script, if that is known."""
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    for part, hint in _HINTS:
        if part in message:
            return hint
    return None


def failed_body(reason: Reason, message: str, line: int | None, hint: str | None) -> bytes:
    """Make the JSON text of a FAILED frame; the message is cut to what one may carry."""
    cut = message.encode("utf-8", "replace")[: wire.MAX_MESSAGE].decode("utf-8", "ignore")
    told = {"reason": reason.value, "message": cut, "line": line, "hint": hint}
    # Escapes may make six bytes of one: plain UTF-8 keeps the frame within its bounds.
    return json.dumps(told, ensure_ascii=False).encode()
