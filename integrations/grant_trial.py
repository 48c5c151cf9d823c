"""What grants would say to one call, without making it."""

from __future__ import annotations

from typing import Any

import orjson

from integrations.arguments import bind
from integrations.catalog import Catalog
from integrations.direct_call import split_name
from integrations.failure import CallFailed
from integrations.gate import Gate, approval_required
from integrations.visible import OPEN, subject_of
from sandbox.limits import Limits
from tenancy.grant_rules import Permission
from tenancy.grants import Grants


def try_call(
    catalog: Catalog, grants: Grants, name: str, account: str, arguments: Any
) -> tuple[Permission, str | None]:
    """
    Say whether a call could be the first of a run, and if not, why.

    Without `arguments` (None), only name and account are looked at.

    Raises:
        CallFailed: there is no such function.
    """
    integration, of_name, short = split_name(name)
    function = catalog.function(integration, short)
    subject = subject_of(function)
    gate = Gate(grants)
    used = (of_name or account) if function.spec else None
    if integration in OPEN:
        return Permission.ALLOW, None
    try:
        gate.check(subject, used)
        if arguments is None:
            asked_by = gate.asks(subject, used)
        else:
            bound = bind(function, orjson.dumps([arguments]), depth=Limits().depth)
            asked_by = gate.admit(subject, used, bound).asked_by
    except CallFailed as refused:
        return Permission.DENY, refused.message
    if asked_by is None:
        return Permission.ALLOW, None
    return Permission.ASK, approval_required(subject, asked_by).message
