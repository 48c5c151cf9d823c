"""How lists, objects and files are written where HTTP has only text: queries, forms, parts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlencode

import orjson

#: `comma`, `space`, `pipe`, `tab` join a list (or the keys and values of an object) into one text;
#: `deep` writes `a[b]=1` and `a[0]=1`; `spread` makes each key of an object an entry of its own;
#: `repeat` writes the key once for each item; `json` writes JSON text; `file` is a part of a form.
Style = Literal["comma", "space", "pipe", "tab", "deep", "spread", "repeat", "json", "file"]
STYLES: tuple[str, ...] = get_args(Style)
Encoding = Literal["json", "form", "multipart", "text", "base64"]
_JOINERS = {"comma": ",", "space": " ", "pipe": "|", "tab": "\t"}
_HEADER_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f]')
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+*/; =-]{1,100}")


class BadValue(Exception):
    """A value that cannot be written; the message says what is wrong and never shows it."""


class Repeated(list[Any]):
    """A list whose key is written once for each item, also in a form."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file of a multipart form."""

    filename: str
    content_type: str
    content: bytes


def styled(key: str, value: Any, style: Style) -> dict[str, Any]:
    """
    Give the entries that a value becomes under a key.

    Raises:
        BadValue: a file has no content that can be read.
    """
    if style == "file":
        many = isinstance(value, list)
        return {key: Repeated(map(_file, value)) if many else _file(value)}
    if style == "json":
        return {key: orjson.dumps(value).decode()}
    if style == "deep":
        return dict(flat(key, value))
    if style == "spread":
        return dict(value) if isinstance(value, dict) else {key: value}
    if style == "repeat":
        return {key: Repeated(value) if isinstance(value, list) else value}
    return {key: _joined(value, _JOINERS[style])}


def _joined(value: Any, joiner: str) -> Any:
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    return joiner.join(map(text, value)) if isinstance(value, list) else value


def _file(value: Any) -> FilePart:
    given = {"text": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or ("base64" in given) == ("text" in given):
        raise BadValue("a file needs `filename` and one of `text` and `base64`")
    name = str(given.get("filename", "file"))
    kind = str(given.get("content_type", "application/octet-stream"))
    if _HEADER_UNSAFE.search(name) or len(name) > 255 or not _CONTENT_TYPE.fullmatch(kind):
        raise BadValue("a file has a name or content type that cannot be sent")
    content = decoded(given["base64"]) if "base64" in given else str(given["text"]).encode()
    return FilePart(name, kind, content)


def decoded(value: Any) -> bytes:
    """
    Give the bytes of base64 text.

    Raises:
        BadValue: it is not base64.
    """
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        raise BadValue("a value that stands for bytes is not base64") from None


def text(value: Any) -> str:
    """Give a plain value as text; lists and objects as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Give the entries of a form: `a[b]=1` for what is inside objects, `a[0]=1` inside lists."""
    if isinstance(value, Repeated):
        yield from ((key, one) for one in value)
    elif isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        for name, one in inside:
            yield from flat(f"{key}[{name}]", one)
    else:
        yield key, value


def encoded(
    body: Any, encoding: Encoding, content_type: str | None = None
) -> tuple[bytes | None, dict[str, str]]:
    """
    Give a body's bytes and its header; no bytes where there is no body.

    Raises:
        BadValue: it cannot be written that way.
    """
    if body is None:
        return None, {}
    if encoding == "json":
        kind, content = "application/json", orjson.dumps(body)
    elif encoding == "form":
        pairs = [(name, text(one)) for key, value in body.items() for name, one in flat(key, value)]
        kind, content = "application/x-www-form-urlencoded", urlencode(pairs).encode()
    elif encoding == "multipart":
        boundary, content = _parts(body)
        return content, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    elif encoding == "base64":
        kind, content = "application/octet-stream", decoded(body)
    else:
        kind, content = "text/plain; charset=utf-8", text(body).encode()
    return content, {"Content-Type": content_type or kind}


def _parts(body: Mapping[str, Any]) -> tuple[str, bytes]:
    parts = []
    for key, value in body.items():
        for one in value if isinstance(value, Repeated) else [value]:
            name = key.replace("\\", "%5C").replace('"', "%22")
            head, content = _part(one)
            parts.append(f'Content-Disposition: form-data; name="{name}"{head}'.encode() + content)
    # Made of the content, so that the same call is the same request, and a part cannot hold it.
    boundary = hashlib.sha256(b"\0".join(parts)).hexdigest()
    mark = f"--{boundary}\r\n".encode()
    whole = b"".join(mark + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return boundary, whole


def _part(value: Any) -> tuple[str, bytes]:
    if isinstance(value, FilePart):
        head = f'; filename="{value.filename}"\r\nContent-Type: {value.content_type}\r\n\r\n'
        return head, value.content
    if isinstance(value, dict | list):
        return "\r\nContent-Type: application/json\r\n\r\n", orjson.dumps(value)
    return "\r\n\r\n", text(value).encode()
