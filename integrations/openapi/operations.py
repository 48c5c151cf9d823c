"""Reads the operations of a document into one model, whichever version it is written in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlsplit

from integrations.openapi.contents import bare, encoding_of, example_of, preferred
from integrations.openapi.model import Answer, Body, Operation, Parameter, Where
from integrations.openapi.names import snake
from integrations.openapi.problem import ImportRefused
from integrations.openapi.reading import Document
from integrations.openapi.refs import Refs
from integrations.openapi.swagger import swagger_answer, swagger_body, swagger_parameter

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
_READING = frozenset(("get", "head", "options"))
EFFECT_EXTENSION = "x-moonsand-effect"
_WHERE = frozenset(("path", "query", "header", "cookie"))


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads operations of one document; `base_path` replaces the document's own when given."""

    document: Document
    refs: Refs
    base_path: str | None = None

    def places(self) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
        """Give method, path, path item and operation of everything that can be called."""
        paths = self.document.root.get("paths")
        for path, given in (paths if isinstance(paths, dict) else {}).items():
            if not path.startswith("/") and path.startswith("x-"):
                continue
            item = self.refs.resolved(given)
            for method in item:
                if method in METHODS and isinstance(item[method], dict):
                    yield method, path, item, item[method]

    def operation(
        self, method: str, path: str, item: Mapping[str, Any], given: Mapping[str, Any]
    ) -> Operation:
        """
        Read one operation.

        Raises:
            ImportRefused: it refers to what is not in the document, or contradicts itself.
        """
        operation_id = _text(given.get("operationId"))
        parameters, body = self._takes(item, given)
        title = _text(given.get("summary")) or operation_id or f"{method.upper()} {path}"
        return Operation(
            method=method.upper(),
            path=self._whole_path(path, item, given),
            operation_id=operation_id,
            tags=tuple(one for one in given.get("tags") or () if isinstance(one, str)),
            title=title,
            description=_text(given.get("description")) or _text(item.get("description")) or title,
            parameters=tuple(parameters),
            body=body,
            answers=tuple(self._answers(given)),
            security=self._security(given),
            effect=_effect(method, given),
            deprecated=given.get("deprecated") is True,
            calls_back=bool(given.get("callbacks")),
        )

    def _takes(
        self, item: Mapping[str, Any], given: Mapping[str, Any]
    ) -> tuple[list[Parameter], Body | None]:
        nodes: dict[tuple[str, str], Mapping[str, Any]] = {}
        for one in [*(item.get("parameters") or ()), *(given.get("parameters") or ())]:
            node = self.refs.resolved(one)
            # What an operation says wins over its path.
            nodes[str(node.get("in")), str(node.get("name"))] = node
        if self.document.dialect == "2.0":
            consumes = given.get("consumes") or self.document.root.get("consumes") or ()
            body = swagger_body(list(nodes.values()), list(consumes), self.refs)
            plain = [swagger_parameter(node) for node in nodes.values() if node["in"] in _WHERE]
            return plain, body
        plain = [self._parameter(node) for node in nodes.values() if node.get("in") in _WHERE]
        return plain, self._body(given)

    def _parameter(self, node: Mapping[str, Any]) -> Parameter:
        where = cast("Where", node["in"])
        content = node.get("content")
        media: Any = next(iter(content.values()), {}) if isinstance(content, dict) else None
        style = _text(node.get("style")) or ("form" if where in {"query", "cookie"} else "simple")
        schema = node.get("schema", {}) if media is None else media.get("schema", {})
        return Parameter(
            name=_text(node.get("name")),
            where=where,
            required=node.get("required") is True or where == "path",
            schema=schema,
            description=_text(node.get("description")),
            style=style,
            explode=node.get("explode") is True if "explode" in node else style == "form",
            as_json=media is not None,
            example=example_of(node if media is None else media, schema, self.refs),
        )

    def _body(self, given: Mapping[str, Any]) -> Body | None:
        if "requestBody" not in given:
            return None
        node = self.refs.resolved(given["requestBody"])
        content = node.get("content")
        kind = preferred(list(content)) if isinstance(content, dict) else None
        if kind is None or not isinstance(content, dict):
            return None
        media = self.refs.resolved(content[kind])
        schema = media.get("schema", {})
        encoding = encoding_of(kind)
        required = node.get("required")
        return Body(
            content_type="application/json" if "*" in kind else bare(kind),
            encoding=encoding,
            schema=schema,
            required=required if isinstance(required, bool) else None,
            description=_text(node.get("description")),
            parts=media.get("encoding") or {},
            example=example_of(media, schema, self.refs),
        )

    def _answers(self, given: Mapping[str, Any]) -> Iterator[Answer]:
        responses = given.get("responses")
        for status, one in (responses if isinstance(responses, dict) else {}).items():
            if status.startswith("x-"):
                continue
            node = self.refs.resolved(one)
            if self.document.dialect == "2.0":
                produces = given.get("produces") or self.document.root.get("produces") or ()
                yield swagger_answer(status, node, list(produces), self.refs)
                continue
            content = node.get("content")
            kind = preferred(list(content)) if isinstance(content, dict) and content else None
            if kind is None or not isinstance(content, dict):
                yield Answer(status.upper())
                continue
            media = self.refs.resolved(content[kind])
            schema = media.get("schema")
            example = example_of(media, schema, self.refs)
            yield Answer(status.upper(), bare(kind), schema, example)

    def _security(self, given: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        stated = given.get("security", self.document.root.get("security"))
        alternatives = stated if isinstance(stated, list) else []
        return tuple(tuple(one) for one in alternatives if isinstance(one, dict))

    def _whole_path(self, path: str, item: Mapping[str, Any], given: Mapping[str, Any]) -> str:
        base = self.base_path
        if base is None:
            base = self._base(item, given)
        return f"{base.rstrip('/')}/{path.lstrip('/')}"

    def _base(self, item: Mapping[str, Any], given: Mapping[str, Any]) -> str:
        if self.document.dialect == "2.0":
            return _text(self.document.root.get("basePath"))
        for level in (given, item, self.document.root):
            if url := server_url(level):
                return _path_of(url)
        return ""


def server_url(level: Mapping[str, Any]) -> str:
    """Give the first address of `servers` with the defaults of its variables; empty if none."""
    servers = level.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else None
    if not isinstance(first, dict) or not isinstance(first.get("url"), str):
        return ""
    variables = first.get("variables")
    known = variables if isinstance(variables, dict) else {}

    def filled(found: re.Match[str]) -> str:
        one = known.get(found[1])
        return str(one.get("default", "")) if isinstance(one, dict) else ""

    return re.sub(r"\{([^{}]*)\}", filled, first["url"])


def _path_of(url: str) -> str:
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    return quote(path, safe="/~!$&'()*+,;=:@-._%") if path.startswith("/") else ""


def function_text(method: str, path: str, given: Mapping[str, Any]) -> str:
    """Give what the name of an operation's function is made of."""
    stated = _text(given.get("operationId"))
    return stated if snake(stated) else f"{method} {re.sub(r'[{}]', '', path)}"


def _effect(method: str, given: Mapping[str, Any]) -> str:
    stated = given.get(EFFECT_EXTENSION)
    if stated is None:
        return "read" if method in _READING else "write"
    if stated not in {"read", "write"}:
        raise ImportRefused(f"{EFFECT_EXTENSION} must be `read` or `write`")
    return str(stated)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
