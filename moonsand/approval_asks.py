"""What both clients ask the HTTP API about approvals, and how they read its answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from moonsand.exchange import Ask
from runs.model import Approval, Decision


def approvals(run_id: str | None) -> Ask[list[Approval]]:
    """Ask for what one run asked, or for all that is open."""
    path = "/v1/approvals?limit=200"
    if run_id is not None:
        path = f"/v1/runs/{quote(run_id, safe='')}/approvals"
    return Ask("GET", path, _read_all)


def answer(run_id: str, n: int, decision: Decision, comment: str | None) -> Ask[Approval]:
    """Approve or deny."""
    body = {"decision": decision} | ({"comment": comment} if comment is not None else {})
    path = f"/v1/runs/{quote(run_id, safe='')}/approvals/{n}"
    return Ask("POST", path, Approval.model_validate, json=body)


def _read_all(answered: Any) -> list[Approval]:
    return [Approval.model_validate(one) for one in answered["data"]]
