"""What an account may be called and which fields it has, by its pack; one rule for every source."""

from __future__ import annotations

import re
from collections.abc import Mapping

from integrations.base_url import checked_base_url, tenant_base_url
from integrations.failure import did_you_mean
from integrations.function import Integration
from integrations.pack import LUA_KEYWORDS, Pack
from integrations.pack_wire import BasicAuth, BearerAuth, HeaderAuth
from integrations.secret import Secret

_ACCOUNT = re.compile(r"[a-z][a-z0-9_]{0,63}")


class FieldWrong(ValueError):
    """
    A name or value does not fit. The message never holds a value.

    `field` is the name as it was given, None when the account's own name is wrong.
    """

    def __init__(self, field: str | None, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def check_account_name(integration: Integration, account: str) -> None:
    """
    Refuse what Lua could not name, or would take for a function.

    Raises:
        FieldWrong: it is no name, a Lua keyword, or a function of the integration.
    """
    if not _ACCOUNT.fullmatch(account) or account in LUA_KEYWORDS:
        problem = "an account name is lower-case letters, digits and _, and no Lua keyword"
        raise FieldWrong(None, problem)
    if account in integration.by_name:
        raise FieldWrong(None, "an account must not be called like a function")


def canonical(pack: Pack, given: Mapping[str, str], *, by_tenant: bool = False) -> dict[str, str]:
    """
    Check the given fields and give them under the pack's own names, without its defaults.

    `by_tenant` holds the vendor's address to the pack's pattern, and refuses one without a pattern.

    Raises:
        FieldWrong: an unknown field, one given twice or missing, or a value that cannot be sent.
    """
    owner = {alias: name for name, one in pack.credentials.items() for alias in one.aliases}
    values: dict[str, str] = {}
    for key, value in given.items():
        name = owner.get(key, key)
        if name not in pack.credentials:
            known = ", ".join(pack.credentials)
            near = did_you_mean(key, [*pack.credentials, *owner])
            raise FieldWrong(key, f"unknown field.{near} Known fields: {known}")
        if name in values:
            raise FieldWrong(key, f"`{name}` is given twice")
        values[name] = _checked(pack, key, name, value, by_tenant=by_tenant)
    for name, field in pack.credentials.items():
        if name not in values and field.required:
            raise FieldWrong(name, "is missing")
    return values


def wrapped(pack: Pack, values: Mapping[str, str]) -> dict[str, str | Secret]:
    """Add the pack's defaults to canonical values, and wrap what is secret."""
    full = {
        name: values.get(name, field.default)
        for name, field in pack.credentials.items()
        if name in values or field.default is not None
    }
    return {
        name: Secret(value) if pack.credentials[name].secret and name in values else value
        for name, value in full.items()
        if value is not None
    }


def _checked(pack: Pack, key: str, name: str, value: str, *, by_tenant: bool) -> str:
    if problem := _unsendable(pack, name, value):
        raise FieldWrong(key, problem)
    if name == pack.host.field:
        try:
            if by_tenant:
                return tenant_base_url(value, pack.host.pattern)
            return checked_base_url(value)
        except ValueError as error:
            raise FieldWrong(key, str(error)) from None
    if isinstance(pack.auth, BasicAuth) and name == pack.auth.username and ":" in value:
        raise FieldWrong(key, "must not have a colon")
    return value


def _unsendable(pack: Pack, name: str, value: str) -> str | None:
    if not value or any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        return "must not be empty nor have control characters"
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        return "must be text in UTF-8"
    in_header = isinstance(pack.auth, BearerAuth | HeaderAuth) and name in pack.auth.fields
    if in_header and (not value.isascii() or value != value.strip()):
        return "must be ASCII without spaces around it: it is sent in a header"
    return None
