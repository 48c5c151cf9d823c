"""Deliveries of webhooks that are signed as the sender of each scheme signs them."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tests.mux_vector import MUX_AT_S
from triggers.verification import (
    github,
    mux,
    plain_hmac,
    slack,
    standard_webhooks,
    stripe,
    timed_list,
)
from triggers.verification.delivery import Delivery
from triggers.verification.plain_hmac import PlainHmac
from triggers.verification.schemes import Scheme, verify

NOW_S = MUX_AT_S
BODY = b'{"type":"video.asset.deleted","id":"evt_1","data":{"name":"\xc3\xa9 \xf0\x9f\x8e\xac"}}'
SECRET = "a-secret-of-the-right-length"
Headers = list[tuple[str, str]]


def _timed_list(header: str) -> Callable[[str, bytes, int], Headers]:
    def signed(secret: str, body: bytes, at_s: int) -> Headers:
        v1 = timed_list.sign(secret, str(at_s), body).decode()
        return [(header.lower(), f"t={at_s},v1={v1}")]

    return signed


def _github(secret: str, body: bytes, _at_s: int) -> Headers:
    return [("x-hub-signature-256", github.sign(secret, body).decode())]


def _slack(secret: str, body: bytes, at_s: int) -> Headers:
    signature = slack.sign(secret, str(at_s), body).decode()
    return [("x-slack-request-timestamp", str(at_s)), ("x-slack-signature", signature)]


def _standard(secret: str, body: bytes, at_s: int) -> Headers:
    key = standard_webhooks.key_of(base64.b64encode(secret.encode()).decode())
    signature = standard_webhooks.sign(key, "msg_1", str(at_s), body).decode()
    return [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", str(at_s)),
        ("webhook-signature", signature),
    ]


def _hmac(secret: str, body: bytes, _at_s: int) -> Headers:
    return [("x-signature", plain_hmac.sign(secret, body, PlainHmac()).decode())]


SIGNERS: dict[Scheme, Callable[[str, bytes, int], Headers]] = {
    Scheme.MUX: _timed_list(mux.HEADER),
    Scheme.STRIPE: _timed_list(stripe.HEADER),
    Scheme.GITHUB: _github,
    Scheme.SLACK: _slack,
    Scheme.STANDARD: _standard,
    Scheme.HMAC: _hmac,
}


def signed(scheme: Scheme, secret: str = SECRET, body: bytes = BODY, at_s: int = NOW_S) -> Delivery:
    """Make a request of a scheme, signed now."""
    return Delivery(SIGNERS[scheme](secret, body, at_s), body)


def kept(scheme: Scheme, *secrets: str) -> list[str]:
    """Write secrets as a hook of the scheme keeps them."""
    if scheme is Scheme.STANDARD:
        return [f"whsec_{base64.b64encode(one.encode()).decode()}" for one in secrets]
    return list(secrets)


def check(scheme: Scheme, delivery: Delivery, *secrets: str, now_s: float = NOW_S) -> int:
    """Verify with the secrets given, or with the usual one."""
    return verify(scheme, delivery, kept(scheme, *(secrets or (SECRET,))), now_s=now_s)
