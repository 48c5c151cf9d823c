"""Parameters of path, query and header: how each is named, checked and written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

from integrations.openapi.auth import AuthPlan
from integrations.openapi.entries import Entries
from integrations.openapi.model import Operation, Parameter
from integrations.openapi.schemas import Schemas
from integrations.pack_wire import OUR_HEADERS

_PLACEHOLDER = re.compile(r"\{([^{}/]+)\}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_DELIMITED = {"spaceDelimited": "space", "pipeDelimited": "pipe", "tabDelimited": "tab"}
#: Headers that OpenAPI itself leaves to other parts of a document.
_ELSEWHERE = frozenset(("accept", "content-type", "authorization"))


@dataclass(slots=True)
class Placed:
    """Where the parameters go: a pack's `path`, `query` and `headers`."""

    path: str
    query: dict[str, Any]
    headers: dict[str, Any]
    left_out: list[str]


def place(operation: Operation, entries: Entries, schemas: Schemas, plan: AuthPlan) -> Placed:
    """Add every parameter outside the body to the entries, and say where it goes."""
    by_path = {one.name: one for one in operation.parameters if one.where == "path"}
    path, constants = _path(operation.path, by_path, entries, schemas)
    placed = Placed(path, {**constants, **plan.query}, {}, [])
    for one in operation.parameters:
        if one.where == "query" and one.name and one.name not in plan.query_names:
            name = _add(one, entries, schemas)
            placed.query[one.name] = _source(name, query_style(one, schemas))
        elif one.where == "header":
            _header(one, entries, schemas, plan, placed)
        elif one.where == "cookie":
            placed.left_out.append(f"cookie {one.name[:60]}")
    return placed


def _header(
    one: Parameter, entries: Entries, schemas: Schemas, plan: AuthPlan, placed: Placed
) -> None:
    lower = one.name.lower()
    if lower in plan.header_names | _ELSEWHERE | {name.lower() for name in placed.headers}:
        return
    if lower in OUR_HEADERS or not _HEADER.fullmatch(one.name):
        placed.left_out.append(f"header {one.name[:60]}")
        return
    name = _add(one, entries, schemas)
    listed = kinds(schemas.written(one.schema)) & {"array", "object"}
    placed.headers[one.name] = _source(name, "json" if one.as_json else "comma" if listed else None)


def _add(one: Parameter, entries: Entries, schemas: Schemas) -> str:
    written = schemas.written(one.schema)
    node = schemas.refs.resolved(one.schema)
    default = node.get("default")
    if default is None and one.where == "header" and len(written.get("enum", ())) == 1:
        # A version header with one possible value is meant to be sent.
        default = written["enum"][0]
    return entries.add(
        one.name,
        one.where,
        written,
        required=one.required,
        description=one.description,
        default=default,
        keep_default=one.required or one.where == "header",
        example=one.example,
    )


def query_style(one: Parameter, schemas: Schemas) -> str | None:
    """Give the pack's style for a parameter of the query; None writes plain values."""
    if one.as_json:
        return "json"
    found = kinds(schemas.written(one.schema))
    if not found & {"array", "object"}:
        return "deep" if one.style == "deepObject" and not found else None
    if one.style == "deepObject":
        return "deep"
    if one.style in _DELIMITED:
        return None if one.explode else _DELIMITED[one.style]
    if one.explode:
        return "spread" if "object" in found else None
    return "comma"


def kinds(schema: Mapping[str, Any]) -> set[str]:
    """Give every JSON type that a written schema allows, as far as it says."""
    stated = schema.get("type", [])
    found = {stated} if isinstance(stated, str) else set(stated)
    for word in ("anyOf", "allOf"):
        for branch in schema.get(word, ()):
            found |= kinds(branch)
    return found


def _source(name: str, style: str | None) -> Any:
    return {"from": name, "style": style} if style else name


def _path(
    template: str, declared: Mapping[str, Parameter], entries: Entries, schemas: Schemas
) -> tuple[str, dict[str, Any]]:
    """Give a pack's path, and the constants that the document's path has in its query."""
    plain = re.sub(r"\{[?&][^{}]*\}", "", template)
    static, _, tail = plain.partition("#")[0].partition("?")
    names: dict[str, str] = {}
    pieces = []
    last = 0
    for found in _PLACEHOLDER.finditer(static):
        pieces.append(_plain(static[last : found.start()]))
        key = found[1] if found[1] in declared else found[1].strip("+*;.?")
        one = declared.get(key) or Parameter(key, "path", True, {"type": "string"})
        if key not in names:
            names[key] = _path_entry(one, entries, schemas)
        before = {"label": ".", "matrix": f";{_plain(key)}="}.get(one.style, "")
        pieces.append(f"{before}{{{names[key]}}}")
        last = found.end()
    path = "".join(pieces) + _plain(static[last:])
    constants = {
        key: {"value": value}
        for key, value in parse_qsl(tail, keep_blank_values=True)
        if "{" not in value
    }
    return path or "/", constants


def _path_entry(one: Parameter, entries: Entries, schemas: Schemas) -> str:
    written = schemas.written(one.schema)
    if kinds(written) & {"array", "object"} or not kinds(written):
        text = {"description": written["description"]} if "description" in written else {}
        written = {"type": "string", **text} if "enum" not in written else written
    if "string" in kinds(written) and "enum" not in written and "pattern" not in written:
        written = {**written, "minLength": max(1, written.get("minLength", 1))}
    return entries.add(
        one.name, "path", written, required=True, description=one.description, example=one.example
    )


def _plain(text: str) -> str:
    """Give fixed text of a path with everything else percent-encoded."""
    return re.sub(r"%(?![0-9A-F]{2})", "%25", quote(text, safe="/:@!$&'()*+,;=-._~%"))
