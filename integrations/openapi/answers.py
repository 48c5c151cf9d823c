"""What answers of a vendor look like: what a success holds, and where an error says why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from integrations.openapi.contents import bare, encoding_of
from integrations.openapi.model import Answer, Operation
from integrations.openapi.samples import sample
from integrations.openapi.schemas import Schemas

_MAX_REPLY_BYTES = 1_500
#: Where errors usually say what is wrong, best first; the document's own places come before.
_MESSAGES = (
    "error.message", "errors.*.message", "errors.*.detail", "message", "error_description",
    "detail", "error", "title", "errors", "msg", "description",
)  # fmt: skip
_CODES = ("error.code", "error.type", "error.status", "errors.*.code", "code", "error", "type")
_NAMED_CODE = ("error.name", "name")
_POINTER = re.compile(r"[A-Za-z0-9_$-]+(\.([A-Za-z0-9_$-]+|\*))*")
_MAX_LOOKED_AT = 400


def success(operation: Operation) -> Answer | None:
    """Give the described success that says most: the first with a body, else the first."""
    found = [one for one in operation.answers if one.status.startswith("2")]
    found = found or [one for one in operation.answers if one.status == "DEFAULT"]
    return next((one for one in found if one.content_type), found[0] if found else None)


def response_of(operation: Operation) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the pack's `response`, and the headers that ask for this kind of answer."""
    answer = success(operation)
    # Every 2xx is success: a write that was done must not be told as failed because a document
    # names another status than the vendor sends.
    response: dict[str, Any] = {"success": ["2xx"]}
    if answer is None or not answer.content_type:
        return response, {}
    kind = bare(answer.content_type)
    encoding = encoding_of(kind)
    if encoding != "json":
        response["content"] = "text" if encoding in {"text", "form"} else "base64"
    if kind == "application/json" or "*" in kind or not re.fullmatch(r"[a-z0-9.+/_-]+", kind):
        return response, {}
    return response, {"Accept": {"value": kind}}


def example_reply(operation: Operation, schemas: Schemas) -> Any:
    """Give a short reply: the document's own, else one made of its schema."""
    answer = success(operation)
    if answer is None or not answer.content_type:
        return None
    encoding = encoding_of(answer.content_type)
    if encoding in {"text", "form"}:
        return answer.example if isinstance(answer.example, str) else "text"
    if encoding != "json":
        return "aGVsbG8="
    if answer.example is not None and _small(answer.example):
        return answer.example
    written = schemas.written(answer.schema, _MAX_REPLY_BYTES * 2)
    made = sample(written) if set(written) - {"description"} else {}
    return made if _small(made) else {}


def _small(value: Any) -> bool:
    return len(orjson.dumps(value)) <= _MAX_REPLY_BYTES


def errors_of(operations: Sequence[Operation], schemas: Schemas) -> dict[str, Any]:
    """Guess where error bodies hold their message and code, from those the document describes."""
    seen: Counter[str] = Counter()
    looked_at: set[str] = set()
    for one in operations:
        for answer in one.answers:
            if answer.status[0] not in "45D" or answer.schema is None:
                continue
            key = orjson.dumps(answer.schema).decode()
            if key in looked_at or len(looked_at) >= _MAX_LOOKED_AT:
                continue
            looked_at.add(key)
            seen.update(set(_places(schemas.written(answer.schema, 6_000), "", 3)))
    if not any(place in seen for place in (*_MESSAGES, *_CODES)):
        return {"code": list(_CODES), "message": list(_MESSAGES)}
    codes = [one for one in (*_CODES, *_NAMED_CODE) if one in seen]
    messages = [one for one in _MESSAGES if one in seen]
    return {
        "code": codes or list(_CODES),
        "message": [*messages, *(one for one in ("message", "detail") if one not in messages)],
    }


def _places(schema: Mapping[str, Any], prefix: str, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    for name, one in schema.get("properties", {}).items():
        place = f"{prefix}{name}"
        if _POINTER.fullmatch(place):
            yield place
            yield from _places(one, f"{place}.", depth - 1)
    items = schema.get("items")
    if isinstance(items, dict) and prefix:
        yield from _places(items, f"{prefix}*.", depth - 1)
    for word in ("anyOf", "allOf"):
        for branch in schema.get(word, ()):
            yield from _places(branch, prefix, depth - 1)
