"""
Names of saved scripts: `name`, `name@3`, `name@prod`.

Runs in: api, scheduler, CLI. Trusts: nobody. Refuses: what could not stand in a Redis key or a URL.
May import: stdlib, core.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from core.errors import Invalid

LATEST = "latest"
MAX_VERSION = 2**31 - 1
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_ALIAS = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_NAME_RULE = (
    "1 to 64 lower-case letters, digits, `.`, `_` or `-`, with a letter or digit at both ends"
)
_ALIAS_RULE = "1 to 40 lower-case letters, digits or inner hyphens, a letter first"


@dataclass(frozen=True, slots=True)
class Ref:
    """
    Which version of a saved script is meant.

    With a `version` always the same text; with an `alias` the version that it names at the time;
    with neither the latest at the time.
    """

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str, pointer: str = "/script_ref") -> Self:
        """
        Read `name`, `name@version` or `name@alias`; `name@latest` is `name`.

        Raises:
            Invalid: it is none of these.
        """
        name, at, which = text.partition("@")
        check_name(name, pointer)
        if not at or which == LATEST:
            return cls(name)
        if _VERSION.fullmatch(which) and int(which) <= MAX_VERSION:
            return cls(name, version=int(which))
        if _ALIAS.fullmatch(which):
            return cls(name, alias=which)
        raise Invalid(
            f"after `@` stands a version, as in {name}@3, or an alias: {_ALIAS_RULE}",
            pointer=pointer,
        )

    @property
    def pinned(self) -> bool:
        """Tell whether it names the same text for ever."""
        return self.version is not None

    def __str__(self) -> str:
        which = self.alias if self.version is None else str(self.version)
        return self.name if which is None else f"{self.name}@{which}"


def check_name(name: str, pointer: str = "/name") -> str:
    """
    Give `name` back if a saved script may have it.

    Raises:
        Invalid: it may not.
    """
    if _NAME.fullmatch(name) is None:
        raise Invalid(
            f"{name[:70]!a} is no name of a saved script: it has {_NAME_RULE}", pointer=pointer
        )
    return name


def check_alias(alias: str, pointer: str = "/alias") -> str:
    """
    Give `alias` back if an alias may be called so.

    Raises:
        Invalid: it may not.
    """
    if alias == LATEST:
        raise Invalid(f"{LATEST} is the newest version always; it is no alias", pointer=pointer)
    if _ALIAS.fullmatch(alias) is None:
        raise Invalid(f"{alias[:50]!a} is no alias: it has {_ALIAS_RULE}", pointer=pointer)
    return alias
