"""
From the bytes of a document to JSON values, within limits.

*Trusts:* nothing of the document. *Refuses:* what is too large, too deep, repeats itself through
YAML aliases, or is no OpenAPI document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import yaml

from integrations.openapi.problem import ImportRefused

MAX_DOCUMENT_BYTES = 16 << 20
#: Levels of lists and objects; the deepest published documents have about 40.
MAX_DEPTH = 120
#: Values of a document, aliases counted as often as they are used.
MAX_VALUES = 2_000_000
MAX_ALIASES = 10_000

Dialect = Literal["2.0", "3.0", "3.1"]


@dataclass(frozen=True, slots=True)
class Document:
    """A document's JSON values and which OpenAPI it is written in."""

    root: dict[str, Any]
    dialect: Dialect


class _NotYaml(ImportRefused):
    """It is no YAML, where other refusals say that it is too much of it."""


def read_document(raw: bytes) -> Document:
    """
    Read a document from its bytes.

    Raises:
        ImportRefused: it is too large, too deep, or no OpenAPI document.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ImportRefused(
            f"the document has {len(raw)} bytes, {MAX_DOCUMENT_BYTES} are allowed;"
            " cut it down to the operations you need"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ImportRefused("the document is not UTF-8") from None
    if not text.strip():
        raise ImportRefused("the document is empty")
    root = _json(text) if text.lstrip()[0] in "{[" else _yaml(text)
    if not isinstance(root, dict):
        raise ImportRefused("the document is not an object")
    _check_size(root)
    return Document(_with_text_keys(root), _dialect(root))


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # A flow mapping of YAML begins like JSON.
        try:
            return _yaml(text)
        except _NotYaml:
            place = f"line {error.lineno}, column {error.colno}"
            raise ImportRefused(f"the document is neither JSON nor YAML ({place})") from None


def _yaml(text: str) -> Any:
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or "malformed"
        raise _NotYaml(f"the document is not YAML{place}: {said}") from None
    except (ValueError, TypeError, RecursionError):
        raise ImportRefused("the document has a YAML value that is no JSON value") from None


def _check_events(text: str) -> None:
    """Count before anything is built: the parser's own recursion has no bound."""
    depth = aliases = 0
    for events, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            aliases += 1
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ImportRefused(f"the document is nested deeper than {MAX_DEPTH} levels")
        if aliases > MAX_ALIASES:
            raise ImportRefused(f"the document has more than {MAX_ALIASES} YAML aliases")
        if events > MAX_VALUES:
            raise ImportRefused(f"the document has more than {MAX_VALUES} values")


class _Loader(yaml.CSafeLoader):
    """Safe YAML with the scalars of JSON: `no` and `2024-01-01` are texts, `0o7` is no number."""

    merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.merged += len(node.value)
        if self.merged > MAX_VALUES:
            raise ImportRefused(f"the document has more than {MAX_VALUES} values in YAML merges")


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"-?(0|[1-9][0-9]{0,17})", "-0123456789"),
    ("float", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?", "-0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )


def _check_size(root: Any) -> None:
    """Walk the values level by level; what an alias shares counts each time."""
    count = 0
    level = [root]
    for _ in range(MAX_DEPTH):
        count += len(level)
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
            if count + len(inner) > MAX_VALUES:
                raise ImportRefused(f"the document has more than {MAX_VALUES} values")
        if not inner:
            return
        level = inner
    raise ImportRefused(f"the document is nested deeper than {MAX_DEPTH} levels")


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_text_keys(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ImportRefused("the document has a YAML value that is no JSON value")


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


def _dialect(root: dict[str, Any]) -> Dialect:
    swagger, openapi = str(root.get("swagger", "")), str(root.get("openapi", ""))
    if swagger in {"2.0", "2"}:
        return "2.0"
    if openapi.startswith("3.0"):
        return "3.0"
    if re.match(r"3\.[12]", openapi):
        return "3.1"
    said = swagger or openapi
    if said:
        raise ImportRefused(f"OpenAPI version {said[:20]!r}; 2.0, 3.0 and 3.1 can be imported")
    raise ImportRefused("no OpenAPI document: it has neither `openapi` nor `swagger`")
