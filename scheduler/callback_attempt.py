"""
One attempt at a callback: signed, sent to a public address once, and judged by its answer.

Runs in: scheduler. Trusts: the operator's settings. Refuses: addresses that are not public at the
moment of the connection, redirects, and to read more of an answer than is needed. May import:
stdlib, core, integrations (not the broker), triggers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from integrations.pack_wire import Timeouts
from integrations.request import VendorRequest
from integrations.vendor_http import NoAnswer, NoAnswerKind, Progress, VendorHttp
from triggers.callback_url import leads_here
from triggers.callbacks import Attempt
from triggers.verification import standard_webhooks

#: Seconds a receiver has for its whole answer.
WITHIN_S = 15.0
_TIMEOUTS = Timeouts(connect_s=5, read_s=WITHIN_S, total_s=WITHIN_S)
_MAX_RETRY_AFTER_S = 3_600
_GONE = 410
_ASKS_TO_WAIT = (429, 503)
_WORDS = {NoAnswerKind.FORBIDDEN: "refused_address"}


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of an attempt. `wait_s` is what the receiver asked for, at most an hour."""

    attempt: Attempt
    delivered: bool
    gone: bool = False
    wait_s: int = 0


async def send(  # noqa: PLR0913 (one message, all named)
    http: VendorHttp,
    url: str,
    body: bytes,
    *,
    message_id: str,
    secrets: Sequence[str],
    at_ms: int,
) -> Heard:
    """
    Send a message once.

    Args:
        http: the connections.
        url: where to; an address that was checked.
        body: the JSON text.
        message_id: the same for every attempt; the receiver knows the message again by it.
        secrets: what to sign with, each of them.
        at_ms: our time, Unix milliseconds.
    """
    request = VendorRequest(
        "POST",
        url,
        body=body,
        headers={
            "Content-Type": "application/json",
            **signed_headers(message_id, at_ms // 1000, body, secrets),
        },
        local=leads_here(url),
    )
    began = time.monotonic()
    status, error, headers = await _exchange(http, request)
    took_ms = int((time.monotonic() - began) * 1000)
    attempt = Attempt(at_ms=at_ms, took_ms=took_ms, status=status, error=error)
    wait_s = _asked_wait_s(headers) if status in _ASKS_TO_WAIT else 0
    good = status is not None and 200 <= status < 300
    return Heard(attempt, good, gone=status == _GONE, wait_s=wait_s)


def signed_headers(
    message_id: str, at_s: int, body: bytes, secrets: Sequence[str]
) -> dict[str, str]:
    """Give the headers of Standard Webhooks; one signature for each secret, the newest first."""
    stamp = str(at_s)
    signatures = [
        standard_webhooks.sign(standard_webhooks.key_of(one), message_id, stamp, body).decode()
        for one in reversed(secrets)
    ]
    return {
        standard_webhooks.ID_HEADER: message_id,
        standard_webhooks.TIME_HEADER: stamp,
        standard_webhooks.HEADER: " ".join(signatures),
    }


async def _exchange(
    http: VendorHttp, request: VendorRequest
) -> tuple[int | None, str | None, Mapping[str, str]]:
    progress = Progress()
    try:
        # No status is a success here: of such an answer little is read, and the rest cut off.
        answer = await http.exchange(
            request,
            _TIMEOUTS,
            within_s=WITHIN_S,
            max_bytes=0,
            accepts=lambda _: False,
            progress=progress,
        )
    except NoAnswer as none:
        # The head is the answer; that its body came too slowly or broken changes nothing.
        error = None if none.status is not None else _WORDS.get(none.kind, none.kind.value)
        return none.status, error, {}
    return answer.status, None, answer.headers


def _asked_wait_s(headers: Mapping[str, str]) -> int:
    text = headers.get("retry-after", "")
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        return 0
    return min(int(text), _MAX_RETRY_AFTER_S)
