"""
The schemes a hook may have: which check it makes, and by what it knows an event again.

Runs in: api. Trusts: whoever set the hook up. Refuses: what the scheme's own module refuses.
May import: stdlib, pydantic, core, triggers.verification.

| scheme | signed | an event is known by |
|---|---|---|
| `mux`, `stripe` | time, body | `id` of the body |
| `standard-webhooks` | id, time, body | `webhook-id` |
| `slack` | time, body | `event_id` of the body |
| `github` | body | `X-GitHub-Delivery`, which is not signed |
| `hmac` | body | the body itself, unless the hook names a header or a field |

Where that is missing, an event is known by its body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from core.errors import Invalid
from triggers.verification import github, mux, plain_hmac, slack, standard_webhooks, stripe
from triggers.verification.delivery import TOLERANCE_S, Delivery
from triggers.verification.plain_hmac import PlainHmac

MIN_SECRET_CHARS, MAX_SECRET_CHARS = 16, 256
_MAX_ID_CHARS = 256
_MAX_TYPE_CHARS = 128


class Scheme(StrEnum):
    """How a sender signs."""

    MUX = "mux"
    STANDARD = "standard-webhooks"
    GITHUB = "github"
    STRIPE = "stripe"
    SLACK = "slack"
    HMAC = "hmac"


#: Schemes whose secret its sender makes: a hook is made first, and gets its secret later.
OF_THE_SENDER = frozenset({Scheme.MUX, Scheme.STRIPE, Scheme.SLACK})
#: Schemes that sign a time, so that an old request is refused whatever is remembered of it.
TIMED = frozenset({Scheme.MUX, Scheme.STRIPE, Scheme.SLACK, Scheme.STANDARD})
_TIMED_CHECKS = {
    Scheme.MUX: mux.verify,
    Scheme.STRIPE: stripe.verify,
    Scheme.SLACK: slack.verify,
    Scheme.STANDARD: standard_webhooks.verify,
}
_ID_FIELDS = {Scheme.MUX: "id", Scheme.STRIPE: "id", Scheme.SLACK: "event_id"}
_ID_HEADERS = {Scheme.GITHUB: github.ID_HEADER, Scheme.STANDARD: standard_webhooks.ID_HEADER}


def verify(  # noqa: PLR0913 (one check, all named)
    scheme: Scheme,
    delivery: Delivery,
    secrets: Sequence[str],
    *,
    now_s: float,
    tolerance_s: int = TOLERANCE_S,
    form: PlainHmac | None = None,
) -> int:
    """
    Check a request by its scheme, and give the place of the secret that signed it.

    Args:
        scheme: how its sender signs.
        delivery: the request as it came.
        secrets: those that count at the moment.
        now_s: our time, Unix seconds.
        tolerance_s: seconds that a signed time may be away from it.
        form: with `hmac`, how the header is written.

    Raises:
        SignatureRefused: it is not signed with any of them, or too old.
    """
    if scheme in TIMED:
        return _TIMED_CHECKS[scheme](delivery, secrets, now_s=now_s, tolerance_s=tolerance_s)
    if scheme is Scheme.GITHUB:
        return github.verify(delivery, secrets)
    return plain_hmac.verify(delivery, secrets, form or PlainHmac())


def check_secret(scheme: Scheme, secret: str) -> str:
    """
    Give a secret back if it can be one of this scheme.

    Raises:
        Invalid: it is too short to be safe, too long, not printable, or no base 64 where it must
            be. The message never holds it.
    """
    if scheme is Scheme.STANDARD:
        standard_webhooks.key_of(secret)
    elif not MIN_SECRET_CHARS <= len(secret) <= MAX_SECRET_CHARS or not secret.isprintable():
        raise Invalid(
            f"the secret must have {MIN_SECRET_CHARS} to {MAX_SECRET_CHARS} printable characters"
        )
    return secret


def event_id(scheme: Scheme, delivery: Delivery, body: Any, source: str | None = None) -> str:
    """
    Give that by which an event is known again.

    Args:
        scheme: how its sender signs.
        delivery: the request, which was checked.
        body: its parsed body; None if it is not JSON.
        source: what the hook says instead: `header:<name>`, `field:<name>` or `body`.

    Returns:
        What the sender calls it, at most 256 characters; else `sha256:` and the body's digest.

    Raises:
        SignatureRefused: its header was sent twice.
    """
    found: Any = None
    kind, _, name = (source or "").partition(":")
    header = name if kind == "header" else "" if source else _ID_HEADERS.get(scheme, "")
    field = name if kind == "field" else "" if source else _ID_FIELDS.get(scheme, "")
    if header:
        found = delivery.optional_header(header)
    elif field and isinstance(body, dict):
        found = body.get(field)
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if isinstance(found, str) and 1 <= len(found) <= _MAX_ID_CHARS:
        return found
    return f"sha256:{hashlib.sha256(delivery.body).hexdigest()}"


def event_type(scheme: Scheme, delivery: Delivery, body: Any) -> str | None:
    """Give what its sender calls the kind of an event, if it says so in the scheme's own place."""
    found: Any = None
    if scheme is Scheme.GITHUB:
        found = delivery.optional_header(github.TYPE_HEADER)
    elif isinstance(body, dict):
        inner = body.get("event") if scheme is Scheme.SLACK else None
        found = (inner if isinstance(inner, dict) else body).get("type")
    return found[:_MAX_TYPE_CHARS] if isinstance(found, str) else None
