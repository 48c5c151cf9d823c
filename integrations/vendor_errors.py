"""From a vendor's refusal, or its silence, to the error a script sees."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from core.calls import Effect, EffectClass
from integrations.failure import NOT_SENT, CallFailed, printable
from integrations.function import Function
from integrations.pack import Pack
from integrations.pack_wire import Errors
from integrations.redaction import scrub_text
from integrations.shaping import at
from integrations.vendor_http import Answer, NoAnswer, NoAnswerKind

#: Statuses that say the vendor did not do it and may do it later.
BUSY = frozenset({429, 503})
_CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "conflict",
    422: "invalid", 429: "rate_limited",
}  # fmt: skip
_MAX_CODE = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, as far as its errors depend on it. `write`: it may have changed something."""

    function: Function
    pack: Pack
    write: bool

    @property
    def errors(self) -> Errors:
        """How the vendor says what is wrong."""
        own = self.function.spec.errors if self.function.spec else None
        return own or self.pack.errors

    def accepts(self, status: int) -> bool:
        """Tell whether a status is success."""
        return self.function.spec is not None and self.function.spec.response.accepts(status)


def refused(asked: Asked, answer: Answer, secrets: Sequence[str], now_s: float) -> CallFailed:
    """Make the error for an answer that is no success; `now_s` is Unix time in seconds."""
    function, errors, status = asked.function, asked.errors, answer.status
    code, words = _said(errors, answer, secrets)
    if 300 <= status < 400:
        code, words = "redirect_refused", "answered with a redirect, and none is followed"
    hint = errors.hints.get(status)
    text = f"{function.full_name}: {status} {code}: {words}{f' ({hint})' if hint else ''}"
    open_end = status in errors.undecided or code in errors.undecided_codes
    undecided = open_end and asked.write
    again = status in BUSY or (status >= 500 and function.effect_class is EffectClass.READ)
    return CallFailed(
        code,
        text,
        effect=Effect.UNKNOWN if undecided else Effect.FAILED,
        status=status,
        retry_after_s=retry_after_s(answer, now_s),
        request_id=_request_id(errors, answer, secrets),
        retriable=again,
    )


def silent(asked: Asked, why: NoAnswer) -> CallFailed:
    """Make the error for an exchange that ended without a whole answer."""
    write = asked.write
    words, code = _SILENCE[why.kind]
    text = f"{asked.function.full_name}: {words.format(vendor=asked.pack.title)}"
    if not why.sent:
        again = why.kind is not NoAnswerKind.FORBIDDEN
        return CallFailed(code, f"{text}; {NOT_SENT}", retriable=again)
    if why.status is not None and asked.accepts(why.status):
        # The head of the answer said it was done; only its body could not be used.
        effect = Effect.SUCCEEDED if write else Effect.FAILED
        done = "; the call itself succeeded" if write else ""
        return CallFailed(code, f"{text}{done}", effect=effect, status=why.status)
    if write and (why.status is None or why.status >= 500):
        text += "; it was sent and may have been done"
        return CallFailed(code, text, effect=Effect.UNKNOWN)
    return CallFailed(code, text, status=why.status, retriable=True)


_SILENCE = {
    NoAnswerKind.UNREACHABLE: ("{vendor} cannot be reached", "unreachable"),
    NoAnswerKind.TIMEOUT: ("{vendor} did not answer in time", "timeout"),
    NoAnswerKind.DROPPED: ("{vendor} closed the connection before its answer was whole", "dropped"),
    NoAnswerKind.TOO_LARGE: ("the reply of {vendor} is larger than allowed", "reply_too_large"),
    NoAnswerKind.FORBIDDEN: (
        "the address of {vendor} leads into a network where no request may go",
        "address_refused",
    ),
    NoAnswerKind.UNREADABLE: ("the reply of {vendor} cannot be read", "invalid_reply"),
}


def retry_after_s(answer: Answer, now_s: float) -> float | None:
    """Give the seconds a vendor asks to wait, from a number or a date; None when it says none."""
    text = answer.headers.get("retry-after", "")[:64].strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        wait_s = email.utils.parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, math.ceil(wait_s))


def _said(errors: Errors, answer: Answer, secrets: Sequence[str]) -> tuple[str, str]:
    """Give the vendor's code and words: no credential, one printable line each."""
    fallback = _CODES.get(answer.status, f"http_{answer.status}")
    try:
        body: Any = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        body = None
    code = _first(body, errors.code, str | int)
    words = _first(body, errors.message, str | list)
    if isinstance(words, list):
        words = "; ".join(one for one in words[:10] if isinstance(one, str))
    if not isinstance(words, str) or not words.strip():
        words = _phrase(answer.status)
    if not isinstance(code, str | int) or isinstance(code, bool) or not str(code).strip():
        code = fallback
    # Credentials go before anything is cut: half of one would not be found any more.
    return (
        printable(scrub_text(str(code), secrets), _MAX_CODE),
        printable(scrub_text(words, secrets)),
    )


def _first(body: Any, places: Sequence[str], kinds: Any) -> Any:
    """Give what stands at the first of some places where there is something of these kinds."""
    found = (at(body, place) for place in places)
    return next((one for one in found if isinstance(one, kinds) and one != ""), None)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "refused without words"


def _request_id(errors: Errors, answer: Answer, secrets: Sequence[str]) -> str | None:
    for name in errors.request_id_headers:
        if value := answer.headers.get(name):
            return printable(scrub_text(value, secrets), 128)
    return None
