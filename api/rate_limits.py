"""
What clients are told of their quotas with every answer: `RateLimit-Policy` and `RateLimit`.

Both are structured fields (RFC 9651) as the IETF's draft of these headers has them: lists of
policies by name. `q` is what is allowed in `w` seconds and `qu` its unit if it is not requests; `r`
is what is left, and after `t` seconds there is more again.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.errors import QuotaExceeded
from runs.quotas import SPANS_S, RateState

_MOST = 999_999_999_999_999  # the largest integer of a structured field


def rate_headers(rates: Iterable[RateState]) -> dict[str, str]:
    """Give the headers that tell of these quotas; none when there are none."""
    known = list(rates)
    if not known:
        return {}
    policies = (_policy(one.name, one.quota, one.allowed, one.span_s) for one in known)
    left = (f'"{one.name}";r={min(one.left, _MOST)};t={one.reset_s}' for one in known)
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)}


def refusal_headers(error: QuotaExceeded) -> dict[str, str]:
    """Give the headers of an answer that refuses: when to come back, and what is used up."""
    wait_s = max(1, error.retry_after_s)
    headers = {"Retry-After": str(wait_s)}
    if error.quota is None or error.allowed is None or error.used is None:
        return headers
    name = error.quota if error.whose == "tenant" else f"key_{error.quota}"
    left = min(max(0, error.allowed - error.used), _MOST)
    policy = _policy(name, error.quota, error.allowed, SPANS_S.get(error.quota))
    return headers | {"RateLimit-Policy": policy, "RateLimit": f'"{name}";r={left};t={wait_s}'}


def _policy(name: str, quota: str, allowed: int, span_s: int | None) -> str:
    policy = f'"{name}";q={min(allowed, _MOST)}'
    if quota.startswith("instructions"):
        policy += ';qu="instructions"'
    elif quota == "stored_bytes":
        policy += ';qu="bytes"'
    return policy if span_s is None else f"{policy};w={span_s}"
