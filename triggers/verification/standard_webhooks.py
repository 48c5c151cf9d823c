"""
Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature: v1,<base64> ...`.

Runs in: api, scheduler (which signs with it). Trusts: nothing. Refuses: headers that are missing
or given twice, an id with a dot, a time that is too far away, a signature that is of none of the
secrets; signatures of other versions than `v1` count for nothing. May import: stdlib, core,
triggers.verification.

Signed are id, time and body with dots between. A secret is base 64 of the key, with or without
`whsec_` before it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets as randomness
from collections.abc import Sequence

from core.errors import Invalid
from triggers.verification.delivery import (
    TOLERANCE_S,
    Delivery,
    SignatureRefused,
    check_time,
)
from triggers.verification.matching import check_count, matching

ID_HEADER = "webhook-id"
TIME_HEADER = "webhook-timestamp"
HEADER = "webhook-signature"
PREFIX = "whsec_"
#: Bytes of a key. The specification makes them of 24 to 64; some senders have shorter ones.
MIN_KEY_BYTES, MAX_KEY_BYTES = 16, 128
_NEW_KEY_BYTES = 32
_ID = re.compile(r"[!-\-/-~]{1,256}")


def verify(
    delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: int = TOLERANCE_S
) -> int:
    """
    Check a request, and give the place of the secret that signed it.

    Raises:
        SignatureRefused: a header is missing, given twice or malformed, the time too far away, or
            no signature of any of the secrets.
    """
    message_id, time = delivery.header(ID_HEADER), delivery.header(TIME_HEADER)
    given = [one for one in delivery.header(HEADER).split(" ") if one.startswith("v1,")]
    check_count(given, HEADER)
    if _ID.fullmatch(message_id) is None:
        # With a dot, id and time could be read in two ways: `a.1` at `2` and `a` at `1.2`.
        raise SignatureRefused(f"{ID_HEADER} must be 1 to 256 printable characters without a dot")
    check_time(time, now_s=now_s, tolerance_s=tolerance_s)
    keys = [key_of(secret) for secret in secrets]
    return matching([sign(key, message_id, time, delivery.body) for key in keys], given)


def sign(key: bytes, message_id: str, time: str, body: bytes) -> bytes:
    """Give one signature, `v1,<base64>`, as ASCII."""
    message = b".".join((message_id.encode(), time.encode(), body))
    return b"v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest())


def key_of(secret: str) -> bytes:
    """
    Give the key of a secret.

    Raises:
        Invalid: it is not base 64 of `MIN_KEY_BYTES` to `MAX_KEY_BYTES` bytes.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise Invalid(
            f"the secret must be {PREFIX} and base 64 of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes"
        )
    return key


def new_secret() -> str:
    """Make a secret of 256 random bits."""
    return PREFIX + base64.b64encode(randomness.token_bytes(_NEW_KEY_BYTES)).decode()
