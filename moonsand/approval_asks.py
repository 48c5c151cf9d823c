"""What both clients ask the HTTP API about approvals, and how they read its answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from moonsand.exchange import Ask
from runs.model import Approval, Decision

#: Some of what was asked for, and the request for the rest if there is more.
Part = tuple[list[Approval], "Ask[Part] | None"]


def approvals(run_id: str | None, cursor: str | None = None) -> Ask[Part]:
    """Ask for what one run asked, or for a page of all that is open."""
    query = urlencode({"limit": 200} | ({"cursor": cursor} if cursor is not None else {}))
    path = f"/v1/approvals?{query}"
    if run_id is not None:
        path = f"/v1/runs/{quote(run_id, safe='')}/approvals"
    return Ask("GET", path, _read_part)


def answer(run_id: str, n: int, decision: Decision, comment: str | None) -> Ask[Approval]:
    """Approve or deny."""
    body = {"decision": decision} | ({"comment": comment} if comment is not None else {})
    path = f"/v1/runs/{quote(run_id, safe='')}/approvals/{n}"
    return Ask("POST", path, Approval.model_validate, json=body)


def _read_part(answered: Any) -> Part:
    found = [Approval.model_validate(one) for one in answered["data"]]
    after = answered.get("next_cursor")
    return found, None if after is None else approvals(None, after)
