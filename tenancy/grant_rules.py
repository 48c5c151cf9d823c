"""
The rules of a grant set: what each covers, what it allows, and how it is written.

A rule without limits is a text, `mux:read`, `ask:mux:write` or `deny:mux.create_live_stream`. With
limits it is an object: `{"pattern": "mux:write", "effect": "allow", "accounts": ["staging"],
"arguments": {...}, "calls_per_run": 5}`. docs/grants.md says what each part means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

import jsonschema_rs
import orjson

from core.calls import EffectClass
from core.errors import Invalid
from tenancy.grant_schema import check_schema, count_patterns, validator_of

MAX_ACCOUNTS = 64
MAX_CALLS_PER_RUN = 100_000
_NAME = r"[a-z][a-z0-9_]{0,63}"
_TOOL = r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}"
_PATTERN = re.compile(
    rf"\*(?::(?:read|write))?"
    rf"|mcp\.[a-z][a-z0-9_-]{{0,63}}(?::(?:read|write)|\.{_TOOL})?"
    rf"|{_NAME}(?::(?:read|write)|\.{_NAME})?"
)
_ACCOUNT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SHAPES = "`mux.create_asset`, `mux:read`, `mux:write`, `mux`, `*:read`, `*:write` or `*`"
_FIELDS = ("pattern", "effect", "accounts", "arguments", "calls_per_run")
_LIMITS = _FIELDS[2:]


class Permission(StrEnum):
    """What a rule says to the calls it covers."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule. A limit that is None does not limit.

    `accounts` are names of accounts, `arguments` the JSON text of a JSON Schema of the named
    arguments, `calls_per_run` how many calls that this rule decides a run may make.
    """

    pattern: str
    permission: Permission = Permission.ALLOW
    accounts: tuple[str, ...] | None = None
    arguments: str | None = None
    calls_per_run: int | None = None

    @property
    def by_class(self) -> bool:
        """Tell whether the pattern names reading or writing and no function."""
        return ":" in self.pattern

    @property
    def patterns(self) -> int:
        """Give how many regular expressions the limit of arguments has."""
        return 0 if self.arguments is None else count_patterns(self.arguments)

    @property
    def validator(self) -> jsonschema_rs.Draft202012Validator | None:
        """Give what checks arguments, if they are limited."""
        return None if self.arguments is None else validator_of(self.arguments)

    def takes(self, account: str | None) -> bool:
        """Tell whether a call with this account is within the limit; None is no account."""
        return self.accounts is None or account in self.accounts

    def __str__(self) -> str:
        """Give the spelling of the rule without its limits."""
        return self.pattern if self.permission is Permission.ALLOW else self._spelled

    @property
    def _spelled(self) -> str:
        return f"{self.permission}:{self.pattern}"

    def to_json(self) -> str | dict[str, Any]:
        """Give what parses to this rule, as short as it goes."""
        limits: dict[str, Any] = {}
        if self.accounts is not None:
            limits["accounts"] = list(self.accounts)
        if self.arguments is not None:
            limits["arguments"] = orjson.loads(self.arguments)
        if self.calls_per_run is not None:
            limits["calls_per_run"] = self.calls_per_run
        if not limits:
            return str(self)
        return {"pattern": self.pattern, "effect": self.permission.value, **limits}


def patterns_of(full_name: str, effect_class: EffectClass) -> tuple[str, ...]:
    """Give every pattern that covers a function, the most specific first."""
    group, _, name = full_name.partition(".")
    server, dot, _ = name.partition(".")
    mcp = (f"mcp.{server}:{effect_class}", f"mcp.{server}") if group == "mcp" and dot else ()
    return (full_name, *mcp, f"{group}:{effect_class}", group, f"*:{effect_class}", "*")


def parse_rule(given: Any, pointer: str) -> Rule:
    """
    Take a rule from its text or its object.

    Raises:
        Invalid: with a JSON pointer that begins with `pointer`.
    """
    if isinstance(given, str):
        return _from_text(given, pointer)
    if not isinstance(given, Mapping):
        raise Invalid("a grant is a text or an object", pointer=pointer)
    unknown = next((name for name in given if name not in _FIELDS), None)
    if unknown is not None:
        raise Invalid(
            f"a grant has no {_shown(unknown)}; it has {', '.join(_FIELDS)}",
            pointer=f"{pointer}/{_pointer_part(unknown)}",
        )
    pattern = given.get("pattern")
    if not isinstance(pattern, str):
        raise Invalid(f"it must be a text such as {_SHAPES}", pointer=f"{pointer}/pattern")
    rule = Rule(
        _checked_pattern(pattern, f"{pointer}/pattern"),
        _permission(given.get("effect", "allow"), f"{pointer}/effect"),
        _accounts(given.get("accounts"), f"{pointer}/accounts"),
        _arguments(given.get("arguments"), f"{pointer}/arguments"),
        _calls(given.get("calls_per_run"), f"{pointer}/calls_per_run"),
    )
    limit = next((name for name in _LIMITS if given.get(name) is not None), None)
    if rule.permission is Permission.DENY and limit is not None:
        raise Invalid(
            "a rule that denies has no limits",
            pointer=f"{pointer}/{limit}",
            hint="allow what is within the limits; what no rule allows is denied",
        )
    return rule


def _from_text(text: str, pointer: str) -> Rule:
    effect, colon, rest = text.partition(":")
    if colon and effect in set(Permission):
        return Rule(_checked_pattern(rest, pointer), Permission(effect))
    return Rule(_checked_pattern(text, pointer))


def _checked_pattern(text: str, pointer: str) -> str:
    if not _PATTERN.fullmatch(text):
        raise Invalid(
            f"grant {_shown(text)} is not a grant; expected {_SHAPES}",
            pointer=pointer,
            hint=_nearest(text),
        )
    if text in {"read", "write"}:
        raise Invalid(
            f"grant {_shown(text)} names no integration", pointer=pointer, hint=f"say *:{text}"
        )
    return text


def _permission(given: Any, pointer: str) -> Permission:
    if not isinstance(given, str) or given not in set(Permission):
        raise Invalid("it must be allow, ask or deny", pointer=pointer)
    return Permission(given)


def _accounts(given: Any, pointer: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_ACCOUNTS:
        raise Invalid(f"it must be a list of 1 to {MAX_ACCOUNTS} accounts", pointer=pointer)
    for index, name in enumerate(given):
        if not isinstance(name, str) or not _ACCOUNT.fullmatch(name):
            raise Invalid("it must be the name of an account", pointer=f"{pointer}/{index}")
    return tuple(dict.fromkeys(given))


def _arguments(given: Any, pointer: str) -> str | None:
    return None if given is None else check_schema(given, pointer)


def _calls(given: Any, pointer: str) -> int | None:
    if given is None:
        return None
    if type(given) is not int or not 1 <= given <= MAX_CALLS_PER_RUN:
        raise Invalid(f"it must be a whole number from 1 to {MAX_CALLS_PER_RUN}", pointer=pointer)
    return given


def _shown(text: object) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _pointer_part(name: object) -> str:
    return str(name)[:64].replace("~", "~0").replace("/", "~1")


def _nearest(text: str) -> str | None:
    name, colon, effect = text[:200].strip().lower().partition(":")
    if colon:
        near = get_close_matches(effect, [member.value for member in EffectClass], n=1)
        effect = near[0] if near else "read"
    candidate = f"{name}{colon}{effect}"
    if candidate != text and _PATTERN.fullmatch(candidate):
        return f"did you mean {candidate!r}?"
    return None
