"""
Webhooks of GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body.

Runs in: api. Trusts: nothing. Refuses: a header that is missing or of another form, a signature
that is of none of the secrets. May import: stdlib, triggers.verification.

Neither a time nor the id of the delivery is signed: a request that somebody recorded stays genuine
for as long as its secret is kept.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from triggers.verification.delivery import Delivery
from triggers.verification.matching import matching

HEADER = "X-Hub-Signature-256"
ID_HEADER = "X-GitHub-Delivery"
TYPE_HEADER = "X-GitHub-Event"


def verify(delivery: Delivery, secrets: Sequence[str]) -> int:
    """
    Check a request, and give the place of the secret that signed it.

    Raises:
        SignatureRefused: the header is missing, given twice, or of none of the secrets.
    """
    given = delivery.header(HEADER)
    return matching([sign(secret, delivery.body) for secret in secrets], [given])


def sign(secret: str, body: bytes) -> bytes:
    """Give the value of the header, as ASCII."""
    return b"sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
