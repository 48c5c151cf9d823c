"""
Webhooks of Mux: `Mux-Signature: t=<Unix seconds>,v1=<hex>`.

Runs in: api. Trusts: nothing. Refuses: what `timed_list` refuses.
May import: triggers.verification.

Mux makes the secret of each endpoint itself and shows it in its dashboard.
"""

from __future__ import annotations

from collections.abc import Sequence

from triggers.verification import timed_list
from triggers.verification.delivery import TOLERANCE_S, Delivery

HEADER = "Mux-Signature"


def verify(
    delivery: Delivery, secrets: Sequence[str], *, now_s: float, tolerance_s: int = TOLERANCE_S
) -> int:
    """
    Check a request, and give the place of the secret that signed it.

    Args:
        delivery: the request as it came.
        secrets: the signing secrets that count at the moment, as the dashboard shows them.
        now_s: our time, Unix seconds.
        tolerance_s: seconds that the signed time may be away from it, in either direction.

    Raises:
        SignatureRefused: the header is missing, malformed, too old or too new, or of no secret.
    """
    return timed_list.verify(delivery, HEADER, secrets, now_s=now_s, tolerance_s=tolerance_s)
