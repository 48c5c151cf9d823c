"""
Requests of Slack: `X-Slack-Signature: v0=<hex>` over `v0:<time>:<body>`.

Runs in: api. Trusts: nothing. Refuses: headers that are missing or given twice, a time that is
too far away, a signature that is of none of the secrets. May import: stdlib, triggers.verification.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from triggers.verification.delivery import TOLERANCE_S, Delivery, check_time
from triggers.verification.matching import matching

HEADER = "X-Slack-Signature"
TIME_HEADER = "X-Slack-Request-Timestamp"
_MAX_CHALLENGE_CHARS = 512


def verify(
    delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: int = TOLERANCE_S
) -> int:
    """
    Check a request, and give the place of the secret that signed it.

    Raises:
        SignatureRefused: a header is missing or given twice, the time too far away, or the
            signature of none of the secrets.
    """
    given, time = delivery.header(HEADER), delivery.header(TIME_HEADER)
    check_time(time, now_s=now_s, tolerance_s=tolerance_s)
    return matching([sign(secret, time, delivery.body) for secret in secrets], [given])


def sign(secret: str, time: str, body: bytes) -> bytes:
    """Give the value of the header for a request of that time, as ASCII."""
    message = b"v0:" + time.encode() + b":" + body
    return b"v0=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest().encode()


def challenge_of(body: Any) -> str | None:
    """
    Give what Slack wants to be told when an address is entered there; None for every other event.

    `body` is the parsed body of a request that was checked.
    """
    if not isinstance(body, dict) or body.get("type") != "url_verification":
        return None
    challenge = body.get("challenge")
    if not isinstance(challenge, str) or len(challenge) > _MAX_CHALLENGE_CHARS:
        return None
    return challenge
