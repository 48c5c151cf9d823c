"""From a document to a pack that works at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from integrations.failure import nearest
from integrations.openapi.answers import errors_of
from integrations.openapi.auth import AuthPlan, plan_auth
from integrations.openapi.functions import write_function
from integrations.openapi.model import Operation
from integrations.openapi.names import unique
from integrations.openapi.omitted import omitted
from integrations.openapi.operations import Reader, function_text, server_url
from integrations.openapi.problem import ImportRefused
from integrations.openapi.reading import Document, read_document
from integrations.openapi.refs import Refs
from integrations.openapi.schemas import Schemas
from integrations.openapi.texts import one_line
from integrations.openapi.writing import guide_text, yaml_text
from integrations.pack import LUA_KEYWORDS, Pack

MAX_OPERATIONS = 1_000
MAX_PACK_BYTES = 8 << 20
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
#: Names of a script's surface that no pack can take.
_TAKEN = LUA_KEYWORDS | {"default", "docs", "mcp", "tenants"}


@dataclass(frozen=True, slots=True)
class Imported:
    """A pack's two files as text, how many operations it has, and what a person should know."""

    name: str
    yaml: str
    guide: str
    operations: int
    notes: tuple[str, ...]
    credentials: tuple[str, ...]


def import_document(
    raw: bytes, *, name: str, host: str | None, only: Sequence[str] = (), auth: str | None = None
) -> Imported:
    """
    Make a pack of a document.

    Args:
        raw: the document's bytes.
        name: what the integration is called.
        host: where requests go: `api.example.com`, or `https://` with a path that replaces the
            document's own base path.
        only: tags, operation ids or function names; nothing takes all.
        auth: `bearer`, `basic`, `none`, `header:NAME[:PREFIX]`, `query:NAME` or `scheme:NAME`,
            instead of what the document says.

    Raises:
        ImportRefused: it cannot be done; the message says why.
    """
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise ImportRefused(
            f"{name[:60]!r} cannot be the name of an integration: lower-case letters, digits and"
            " `_`, at most 40, beginning with a letter, and no reserved word"
        )
    document = read_document(raw)
    origin, base_path = _address(host, document)
    refs = Refs(document.root)
    try:
        operations = _selected(Reader(document, refs, base_path), only)
        plan = plan_auth(document, refs, [one for _, one in operations], auth)
        pack, notes = _pack(name, origin, document, refs, operations, plan)
        notes += omitted(document, refs, operations)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        # Lists where objects belong, and the like: there are more ways than checks.
        raise ImportRefused(f"the document is malformed ({type(error).__name__})") from error
    _check(pack)
    text = yaml_text(pack)
    if len(text.encode()) > MAX_PACK_BYTES:
        raise ImportRefused(
            f"the pack has {len(text.encode())} bytes, {MAX_PACK_BYTES} are allowed;"
            " take fewer operations with --only"
        )
    guide = guide_text(pack, document.root, notes)
    fields = tuple(key for key, one in plan.credentials.items() if one["required"])
    return Imported(name, text, guide, len(operations), tuple(notes), fields)


def _address(host: str | None, document: Document) -> tuple[str, str | None]:
    """Give the origin, and the base path when the host has one."""
    if not host:
        stated = server_url(document.root) or str(document.root.get("host", ""))
        told = f"; the document names {stated[:100]}" if stated else ""
        raise ImportRefused(f"give --host, the address that requests may go to{told}")
    try:
        parts = urlsplit(host if "://" in host else f"https://{host}")
    except ValueError:  # brackets that are no address
        parts = urlsplit("")
    path = parts.path.rstrip("/")
    if (
        parts.scheme != "https" or not _HOST.fullmatch(parts.netloc) or parts.query
        or parts.fragment or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path)
        or any(step in {".", ".."} for step in path.split("/"))
    ):  # fmt: skip
        raise ImportRefused("--host must be a host name, or https:// with a host name and a path")
    return f"https://{parts.netloc}", path or None


def _selected(reader: Reader, only: Sequence[str]) -> list[tuple[str, Operation]]:
    """Give the operations to import, each with the name of its function."""
    every = list(reader.places())
    if not every:
        webhooks = reader.document.root.get("webhooks")
        why = "only webhooks, which are calls to you" if webhooks else "no operations"
        raise ImportRefused(f"the document describes {why}: there is nothing to call")
    wanted = {one.strip().lower() for one in only if one.strip()}
    found: list[tuple[str, Operation]] = []
    taken: set[str] = set()
    used: set[str] = set()
    known: set[str] = set()
    for method, path, item, given in every:
        # All are named, so that a function has the same name whichever others are taken.
        function = unique(function_text(method, path, given), "operation", taken)
        taken.add(function)
        tags = [tag for tag in given.get("tags") or () if isinstance(tag, str)]
        words = {one.lower() for one in (*tags, str(given.get("operationId") or ""), function)}
        known |= words - {""}
        if wanted and not wanted & words:
            continue
        used |= wanted & words
        try:
            found.append((function, reader.operation(method, path, item, given)))
        except ImportRefused as problem:
            raise ImportRefused(f"{method.upper()} {path[:100]}: {problem}") from None
    if missing := sorted(wanted - used):
        near = nearest(missing[0], sorted(known))
        meant = f"; near: {', '.join(near)}" if near else ""
        raise ImportRefused(f"no tag or operation is called {missing[0][:60]!r}{meant}")
    if len(found) > MAX_OPERATIONS:
        raise ImportRefused(
            f"the document has {len(found)} operations, {MAX_OPERATIONS} are allowed;"
            " take some with --only TAG,OPERATION"
        )
    return found


def _pack(  # noqa: PLR0913, PLR0917 (the parts of one import)
    name: str, origin: str, document: Document, refs: Refs,
    operations: Sequence[tuple[str, Operation]], plan: AuthPlan,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    schemas = Schemas(refs, document.dialect)
    replies = Schemas(refs, document.dialect, reply=True)
    notes = list(plan.notes)
    functions = []
    for function, operation in operations:
        try:
            written = write_function(name, function, operation, schemas, replies, plan)
        except ImportRefused as problem:
            raise ImportRefused(f"{operation.place[:120]}: {problem}") from None
        functions.append(written.function)
        notes += [f"{function}: left out {one}" for one in written.left_out]
    info = refs.resolved(document.root.get("info"))
    title = one_line(info.get("title"), 60) or name
    pack = {
        "format": 1,
        "name": name,
        "title": title,
        "summary": one_line(info.get("description"), 160) or f"{title}, from its OpenAPI document.",
        "homepage": _homepage(document, origin),
        "guide": f"{name}.md",
        "credentials": {
            **plan.credentials,
            "base_url": {"label": "Base URL", "hint": "Only for a proxy or a test server."},
        },
        "auth": plan.auth,
        "host": {"default": origin, "field": "base_url"},
        "errors": errors_of([one for _, one in operations], replies),
        **({"headers": plan.headers} if plan.headers else {}),
        "functions": functions,
    }
    return pack, notes


def _homepage(document: Document, origin: str) -> str:
    docs = document.root.get("externalDocs")
    url = docs.get("url") if isinstance(docs, dict) else None
    return url if isinstance(url, str) and url.startswith("https://") else origin


def _check(pack: dict[str, Any]) -> None:
    try:
        Pack.model_validate(pack)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ImportRefused(f"the pack made of it is not valid: {place}: {first['msg']}") from None
