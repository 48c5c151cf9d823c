"""Which of the content types that a document offers is sent or asked for, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from integrations.encoding import Encoding
from integrations.openapi.refs import Refs

_JSON = re.compile(r"(application|text)/([a-z0-9.+-]+\+)?json|\*/\*|application/\*")
_TEXT = re.compile(
    r"text/.*|application/([a-z0-9.+-]+\+)?(xml|yaml|x-yaml|graphql|x-ndjson|jsonl?)"
)


def bare(content_type: str) -> str:
    """Give a content type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def encoding_of(content_type: str) -> Encoding:
    """Say how a body of this type is made."""
    kind = bare(content_type)
    if _JSON.fullmatch(kind):
        return "json"
    if kind == "application/x-www-form-urlencoded":
        return "form"
    if kind.startswith("multipart/"):
        return "multipart"
    return "text" if _TEXT.fullmatch(kind) else "base64"


_ORDER: tuple[Encoding, ...] = ("json", "form", "multipart", "text", "base64")


def preferred(content_types: list[str]) -> str | None:
    """Give the one that says most with JSON values; the first of several alike."""
    ranked = sorted(content_types, key=lambda one: _ORDER.index(encoding_of(one)))
    plain = [one for one in ranked if bare(one) == "application/json"]
    return next(iter(plain or ranked), None)


def example_of(media: Mapping[str, Any], schema: Any, refs: Refs) -> Any:
    """Give the first example a document has for a content type; None when it has none."""
    if "example" in media:
        return media["example"]
    examples = media.get("examples")
    if isinstance(examples, dict):
        for one in examples.values():
            given = refs.resolved(one)
            if "value" in given:
                return given["value"]
    node = refs.resolved(schema)
    if "example" in node:
        return node["example"]
    many = node.get("examples")
    return many[0] if isinstance(many, list) and many else None
