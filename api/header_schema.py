"""How the OpenAPI document tells of headers that several routes have."""

from __future__ import annotations

from typing import Any

from api.idempotency import REPLAYED
from core.idempotency_key import HEADER, MAX_CHARS

#: Routes that answer a request that is sent again as they answered the first.
IDEMPOTENT = frozenset(
    {
        *("submit_run", "create_batch", "save_script", "create_schedule"),
        *("create_hook", "create_callback", "create_key"),
        *("create_connection", "create_bucket", "create_sync"),
    }
)
#: Routes that tell of quotas of rates with what they accept.
COUNTED = frozenset({"submit_run"})

PARAMETERS = {
    "IdempotencyKey": {
        "name": HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_CHARS},
        "description": "Visible ASCII, of the client's choice: the same request with the same key "
        "makes one thing, for 24 hours; the first answer is given again.",
    }
}
HEADERS = {
    "Replayed": {
        "description": "`true`: this is the answer of an earlier request with the same key.",
        "schema": {"type": "string"},
    },
    "RateLimitPolicy": {
        "description": 'Quotas of rates, such as `"runs_per_minute";q=100;w=60`.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left of them, and in how many seconds there is more: `"runs_per_'
        'minute";r=99;t=60`.',
        "schema": {"type": "string"},
    },
}


def describe_headers(operation: dict[str, Any]) -> tuple[str, ...]:
    """Add the headers of one operation; give the codes of the problems that come of them."""
    headers: dict[str, str] = {}
    codes: tuple[str, ...] = ()
    if operation["operationId"] in IDEMPOTENT:
        parameter = {"$ref": "#/components/parameters/IdempotencyKey"}
        operation.setdefault("parameters", []).append(parameter)
        headers[REPLAYED] = "Replayed"
        codes = ("in_flight", "idempotency_key_reused")
    if operation["operationId"] in COUNTED:
        headers |= {"RateLimit-Policy": "RateLimitPolicy", "RateLimit": "RateLimit"}
    for status, response in operation["responses"].items():
        if headers and status.startswith("2"):
            made = {name: {"$ref": f"#/components/headers/{one}"} for name, one in headers.items()}
            response.setdefault("headers", {}).update(made)
    return codes
