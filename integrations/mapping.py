"""The mapping language of packs: from parameters and credential fields to values of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.accounts import Credentials
from integrations.encoding import styled
from integrations.pack_wire import Source

_NOTHING = object()


class MissingCredential(Exception):
    """The account has no value for the credential `field`."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


def mapped(
    sources: Mapping[str, Source],
    arguments: Mapping[str, Any],
    credentials: Credentials | None = None,
) -> dict[str, Any]:
    """
    Give the values of all sources that have one, by the key they go under.

    Raises:
        MissingCredential: a value can come from nowhere but a field the account does not have.
        BadValue: a file of a form has no content that can be read.
    """
    result = {}
    for key, source in sources.items():
        if source.unless is not None and source.unless in arguments:
            continue
        value = _value(source, arguments, credentials)
        if value is _NOTHING:
            continue
        if source.style is None:
            result[key] = value
        else:
            result.update(styled(key, value, source.style))
    return result


def _value(source: Source, arguments: Mapping[str, Any], credentials: Credentials | None) -> Any:
    given = _NOTHING
    if source.take is not None and source.take in arguments:
        given = _transformed(source, arguments[source.take])
    if source.build is not None:
        base = given if isinstance(given, dict) else {}
        return {**base, **mapped(source.build, arguments, credentials)}
    if given is not _NOTHING:
        return given
    if source.credential is not None:
        return _of_account(source, credentials)
    return _NOTHING if source.value is None else source.value


def _of_account(source: Source, credentials: Credentials | None) -> Any:
    name = source.credential or ""
    if credentials is not None and name in credentials.values:
        return credentials.reveal(name)
    if source.value is not None:
        return source.value
    raise MissingCredential(name)


def _transformed(source: Source, value: Any) -> Any:
    if source.as_list and not isinstance(value, list):
        value = [value]
    if source.item_key is not None:
        items = value if isinstance(value, list) else [value]
        value = [one if isinstance(one, dict) else {source.item_key: one} for one in items]
    if source.inner and isinstance(value, dict):
        value = _inner(source.inner, value)
    return value + source.add if source.add else value


def _inner(sources: Mapping[str, Source], value: Mapping[str, Any]) -> dict[str, Any]:
    """Map keys inside an object. A key given under its new name wins over its old one."""
    renamed = dict(value)
    for key, source in sources.items():
        old = renamed.pop(source.take, None) if source.take else source.value
        given = renamed.get(key, old)
        if given is not None:
            renamed[key] = _transformed(source, given)
    return renamed
