"""
Webhooks of Stripe: `Stripe-Signature: t=<Unix seconds>,v1=<hex>[,v1=<hex>][,v0=<hex>]`.

Runs in: api. Trusts: nothing. Refuses: what `timed_list` refuses; `v0` counts for nothing, it is
of Stripe's test events only. May import: triggers.verification.

The key is the whole secret, its `whsec_` included.
"""

from __future__ import annotations

from collections.abc import Sequence

from triggers.verification import timed_list
from triggers.verification.delivery import TOLERANCE_S, Delivery

HEADER = "Stripe-Signature"


def verify(
    delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: int = TOLERANCE_S
) -> int:
    """
    Check a request, and give the place of the secret that signed it.

    Raises:
        SignatureRefused: the header is missing, malformed, too old or too new, or of no secret.
    """
    return timed_list.verify(delivery, HEADER, secrets, now_s=now_s, tolerance_s=tolerance_s)
