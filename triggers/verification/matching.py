"""
Comparing signatures: several secrets, several signatures, and no time that tells how near one was.

Runs in: api. Trusts: its callers for what was signed. Refuses: everything that equals none of
the expected texts. May import: stdlib, triggers.verification.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from triggers.verification.delivery import SignatureRefused

#: Signatures that one request may carry; each is compared with that of every secret.
MAX_SIGNATURES = 16


def check_count(given: Sequence[str], header: str) -> None:
    """
    Refuse a header without a signature, or with more than anybody sends.

    Raises:
        SignatureRefused: there are none, or more than `MAX_SIGNATURES`.
    """
    if not given:
        raise SignatureRefused(f"{header} holds no signature of the kind that is checked")
    if len(given) > MAX_SIGNATURES:
        raise SignatureRefused(f"{header} holds more than {MAX_SIGNATURES} signatures")


def matching(expected: Sequence[bytes], given: Sequence[str]) -> int:
    """
    Give the place of the first expected signature that was given.

    All are compared whatever was found, each in a time that depends on its length only.

    Raises:
        SignatureRefused: none was given, or none is expected.
    """
    if not expected:
        raise SignatureRefused(
            "no secret is kept here to check the signature with",
            hint="give the secret with which the sender signs",
        )
    texts = [one.encode("utf-8", "surrogatepass") for one in given]
    equal = [
        any([hmac.compare_digest(one, text) for text in texts])  # noqa: C419 (compares them all)
        for one in expected
    ]
    if not any(equal):
        raise SignatureRefused(
            "the signature does not match the body",
            hint="is the secret the sender's, and did anything between change the body?",
        )
    return equal.index(True)
