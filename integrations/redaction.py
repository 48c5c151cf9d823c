"""What is shown of a call's arguments: enough to understand it, nothing that opens a door."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

import orjson

REDACTED = "[redacted]"
#: Longest text and longest whole of a preview, in characters.
MAX_TEXT = 200
MAX_PREVIEW = 2_000
_MAX_ITEMS = 20
_MAX_DEPTH = 6
#: A key with one of these in its name, whatever its case and separators, holds a secret.
_SECRET_WORDS = (
    "secret", "password", "passwd", "passphrase", "token", "apikey", "accesskey", "privatekey",
    "authorization", "cookie", "credential", "salt", "signature", "streamkey",
)  # fmt: skip
_URL_QUERY = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s?#]*)[?#]\S*", re.IGNORECASE)
_URL_USER = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@?#]*@", re.IGNORECASE)
_SPACES = re.compile(r"(\s+)")
_QUERY = re.compile(r"[?#]")
_USER = re.compile(r"://[^\s/@?#]*@")
#: Of arguments and of the JSON in their texts together, in levels.
_MAX_WHOLE_DEPTH = 160
#: A credential shorter than this is not searched for: it would be found in every other word.
_LEAST_SECRET = 6


def preview(arguments: Any, secret_keys: Collection[str], secrets: Sequence[str] = ()) -> str:
    """
    Give arguments as short JSON text: secret keys redacted, URLs without query, long parts cut.

    `secret_keys` are names beyond those that are always taken for secrets; `secrets` are
    credentials, replaced wherever they stand.
    """
    hidden = _Hidden(frozenset(_plain(key) for key in secret_keys), secrets)
    text = orjson.dumps(_shown(arguments, hidden, _MAX_DEPTH)).decode()
    return text if len(text) <= MAX_PREVIEW else f"{text[: MAX_PREVIEW - 3]}..."


def redact_whole(
    arguments: Any, secret_keys: Collection[str], secrets: Sequence[str] = ()
) -> tuple[Any, list[str]]:
    """
    Give arguments as `preview` would show them, but with nothing cut, as a value.

    The JSON pointers are those of the values that are not shown as they are.
    """
    hidden = _Hidden(frozenset(_plain(key) for key in secret_keys), secrets)
    changed: list[str] = []
    return _whole(arguments, hidden, "", changed, _MAX_WHOLE_DEPTH), changed


def scrub(body: bytes, value: Any, secrets: Iterable[str]) -> bytes:
    """
    Give `body`, the JSON text of `value`, with every credential in it replaced.

    A vendor that echoes what we sent must not carry a credential into a script or a tape.
    """
    wanted = [one for one in secrets if len(one) >= _LEAST_SECRET]
    if not any(_escaped(form).encode() in body for one in wanted for form in _forms(one)):
        return body
    return orjson.dumps(_replaced(value, wanted))


def scrub_text(text: str, secrets: Iterable[str]) -> str:
    """Give a text with every credential in it replaced, also where it stands in JSON text."""
    for one in secrets:
        if len(one) >= _LEAST_SECRET:
            for form in _forms(one):
                text = text.replace(form, REDACTED)
    return text


def is_secret_key(key: str) -> bool:
    """Tell whether a key of this name is taken to hold a secret, whatever the pack says."""
    plain = _plain(key)
    return any(word in plain for word in _SECRET_WORDS)


def _forms(secret: str) -> tuple[str, ...]:
    """Give a credential as it is, and as JSON, addresses, base 64 and hexadecimal have it."""
    raw = secret.encode("utf-8", "surrogatepass")
    base64 = b64encode(raw).decode().rstrip("=")
    forms = (
        *(secret, _escaped(secret), json.dumps(secret)[1:-1], raw.hex(), raw.hex().upper()),
        *(quote(raw, safe=""), quote(raw), quote_plus(raw)),
        *(base64, base64.replace("+", "-").replace("/", "_")),
    )
    return tuple(dict.fromkeys(forms))


def _escaped(text: str) -> str:
    return orjson.dumps(text)[1:-1].decode()


def _replaced(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        return scrub_text(value, secrets)
    if isinstance(value, list):
        return [_replaced(item, secrets) for item in value]
    if isinstance(value, dict):
        return {scrub_text(key, secrets): _replaced(item, secrets) for key, item in value.items()}
    return value


def _json_inside(text: str) -> Any:
    """Give the object or list that a text is JSON of, so that its keys are seen; else None."""
    if text.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key[:64].lower())


@dataclass(frozen=True, slots=True)
class _Hidden:
    """What a preview must not show: values of these keys, and these texts."""

    keys: frozenset[str]
    secrets: Sequence[str]

    def covers(self, key: str) -> bool:
        return _plain(key) in self.keys or is_secret_key(key)


def _shown(value: Any, hidden: _Hidden, depth: int) -> Any:
    if isinstance(value, str):
        inside = _json_inside(value)
        if inside is not None:
            return _shown(inside, hidden, depth)
        # Before it is cut: half a credential would not be found any more.
        value = scrub_text(value, hidden.secrets)
        cut = value if len(value) <= MAX_TEXT else f"{value[: MAX_TEXT - 3]}..."
        return _URL_USER.sub(r"\g<scheme>", _URL_QUERY.sub(rf"\g<head>?{REDACTED}", cut))
    if isinstance(value, dict | list) and depth == 0:
        return "..."
    if isinstance(value, dict):
        kept = list(value.items())[:_MAX_ITEMS]
        return {
            scrub_text(key, hidden.secrets)[:64]: REDACTED
            if hidden.covers(key)
            else _shown(item, hidden, depth - 1)
            for key, item in kept
        }
    if isinstance(value, list):
        return [_shown(item, hidden, depth - 1) for item in value[:_MAX_ITEMS]]
    return value


def _whole(value: Any, hidden: _Hidden, pointer: str, changed: list[str], depth: int) -> Any:
    if depth == 0:  # a text may be JSON of any depth
        changed.append(pointer)
        return REDACTED
    if isinstance(value, list):
        return [
            _whole(item, hidden, f"{pointer}/{index}", changed, depth - 1)
            for index, item in enumerate(value)
        ]
    if isinstance(value, dict):
        if any(scrub_text(key, hidden.secrets) != key for key in value):
            changed.append(pointer)
            return REDACTED
        shown = {}
        for key, item in value.items():
            place = f"{pointer}/{pointer_part(key)}"
            if hidden.covers(key):
                changed.append(place)
                shown[key] = REDACTED
            else:
                shown[key] = _whole(item, hidden, place, changed, depth - 1)
        return shown
    whole = _whole_text(value, hidden, depth) if isinstance(value, str) else value
    if whole != value:
        changed.append(pointer)
    return whole


def _whole_text(text: str, hidden: _Hidden, depth: int) -> str:
    inside = _json_inside(text)
    if inside is not None:
        changed: list[str] = []
        shown = _whole(inside, hidden, "", changed, depth - 1)
        return orjson.dumps(shown).decode() if changed else text
    text = scrub_text(text, hidden.secrets)
    if "://" not in text:
        return text
    # Word by word: the patterns for short texts would take the square of the time here.
    return "".join(_whole_word(word) for word in _SPACES.split(text))


def _whole_word(word: str) -> str:
    begin = word.find("://")
    query = _QUERY.search(word, begin) if begin >= 0 else None
    if query is not None:
        word = f"{word[: query.start()]}?{REDACTED}"
    return _USER.sub("://", word)


def pointer_part(key: str) -> str:
    """Escape a name for a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
