"""Tenants: who a key, a run and an account belong to."""

from __future__ import annotations

import re

from core.errors import Invalid

#: The tenant of local runs and of the key that `moonsand serve` prints.
DEVELOPMENT = "development"
#: The tenant of the keys of those who run the service; nobody else's keys administer tenants.
OPERATOR = "operator"

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")


def check_tenant(name: str) -> str:
    """
    Give `name` back if it may name a tenant: it becomes part of queue names and Redis keys.

    Raises:
        Invalid: it is not 1 to 40 lower-case letters, digits and inner hyphens, letter first.
    """
    if _NAME.fullmatch(name) is None:
        raise Invalid(
            f"{name[:60]!a} is not a tenant name: it must be 1 to 40 lower-case letters, "
            "digits or hyphens, start with a letter and not end with a hyphen"
        )
    return name
