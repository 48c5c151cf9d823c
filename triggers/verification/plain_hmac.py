"""
A plain HMAC of the body in a header: its name, hash, encoding and prefix as the sender has them.

Runs in: api. Trusts: whoever set the hook up, for the form. Refuses: a header that is missing or
given twice, a signature that is of none of the secrets. May import: stdlib, pydantic,
triggers.verification.

As with GitHub, no time is signed.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from triggers.verification.delivery import Delivery
from triggers.verification.matching import matching


class PlainHmac(BaseModel):
    """The form of a signature: `X-Signature: <prefix><digest>`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    header: str = Field(
        default="X-Signature",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Name of the header, in any case.",
    )
    algorithm: Literal["sha256", "sha384", "sha512", "sha1"] = Field(
        default="sha256", description="Hash of the HMAC; `sha1` only where a sender has no other."
    )
    encoding: Literal["hex", "base64"] = Field(
        default="hex", description="How the digest is written; hexadecimal in either case."
    )
    prefix: str = Field(
        default="",
        pattern=r"^[\x21-\x7e]{0,32}$",
        description="What stands before the digest, as `sha256=`.",
    )


def verify(delivery: Delivery, secrets: Sequence[str], form: PlainHmac) -> int:
    """
    Check a request, and give the place of the secret that signed it.

    Raises:
        SignatureRefused: the header is missing, given twice, or of none of the secrets.
    """
    given = delivery.header(form.header)
    if form.encoding == "hex":
        prefix, digest = given[: len(form.prefix)], given[len(form.prefix) :]
        given = prefix + digest.lower()
    return matching([sign(secret, delivery.body, form) for secret in secrets], [given])


def sign(secret: str, body: bytes, form: PlainHmac) -> bytes:
    """Give the value of the header, as ASCII."""
    digest = hmac.new(secret.encode(), body, form.algorithm).digest()
    text = digest.hex().encode() if form.encoding == "hex" else base64.b64encode(digest)
    return form.prefix.encode() + text
