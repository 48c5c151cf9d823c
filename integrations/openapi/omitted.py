"""What a document describes and no script can call: told, so that nobody looks for it in vain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from integrations.openapi.model import Operation
from integrations.openapi.reading import Document
from integrations.openapi.refs import Refs
from integrations.openapi.texts import one_line

#: Fields of a path item that are requests and become no function.
_NO_FUNCTION = ("trace", "query")
_NAMED = 3


def omitted(
    document: Document, refs: Refs, operations: Sequence[tuple[str, Operation]]
) -> list[str]:
    """Give one sentence for each kind of thing that is left out; `operations` are taken."""
    paths = document.root.get("paths")
    items = {
        path: refs.resolved(given)
        for path, given in (paths if isinstance(paths, dict) else {}).items()
        if not path.startswith("x-")
    }
    notes = [
        f"left out {method.upper()} of {_some('path', having)}: this method cannot be sent"
        for method in _NO_FUNCTION
        if (having := [path for path, item in items.items() if isinstance(item.get(method), dict)])
    ]
    if others := list(_additional(items)):
        notes.append(f"left out {_some('request', others)}: these methods cannot be sent")
    webhooks = [
        name
        for key in ("webhooks", "x-webhooks")
        if isinstance(given := document.root.get(key), dict)
        for name in given
    ]
    if webhooks:
        notes.append(f"left out {_some('webhook', webhooks)}: the vendor would call you")
    if calling := [name for name, operation in operations if operation.calls_back]:
        functions = _some("function", calling)
        notes.append(f"left out the callbacks of {functions}: the vendor would call you")
    return notes


def _additional(items: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for path, item in items.items():
        given = item.get("additionalOperations")
        for method in given if isinstance(given, dict) else ():
            yield f"{method} {path}"


def _some(kind: str, names: Sequence[str]) -> str:
    shown = ", ".join(one_line(name, 60) for name in names[:_NAMED])
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} {kind}{'s' * (len(names) > 1)} ({shown}{more})"
