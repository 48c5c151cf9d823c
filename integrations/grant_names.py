"""
Whether grants name what there is: a mistyped name would deny nothing, or grant nothing.

Tools of MCP servers come and go; of patterns that begin with `mcp` only the spelling is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import orjson

from core.errors import Invalid
from integrations.catalog import Catalog
from integrations.failure import did_you_mean
from integrations.function import Function
from tenancy.grant_rules import Permission, Rule, patterns_of
from tenancy.grants import GrantSet


def check_names(rules: GrantSet, catalog: Catalog, pointer: str = "/grants") -> GrantSet:
    """
    Check every rule; give the same ones, with each function under its own name.

    Raises:
        Invalid: an integration, function or parameter that there is not, with its pointer.
    """
    names = _Names(catalog)
    named = [names.checked(rule, f"{pointer}/{at}") for at, rule in enumerate(rules.rules)]
    return GrantSet(tuple(dict.fromkeys(named)))


def check_taking(rules: GrantSet, catalog: Catalog, pointer: str = "/grants") -> None:
    """
    Check only rules that take something away: of these a mistyped name would widen the others.

    Raises:
        Invalid: as `check_names`.
    """
    names = _Names(catalog)
    for index, rule in enumerate(rules.rules):
        limited = rule.accounts or rule.arguments or rule.calls_per_run
        if limited or rule.permission is not Permission.ALLOW:
            names.checked(rule, f"{pointer}/{index}")


class _Names:
    """What there is, looked up once for each pattern: a set may have hundreds of rules."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._parameters: dict[str, frozenset[str]] = {}

    def checked(self, rule: Rule, pointer: str) -> Rule:
        group, _, name = rule.pattern.partition(":")[0].partition(".")
        if group == "mcp":
            return rule
        place = pointer if isinstance(rule.to_json(), str) else f"{pointer}/pattern"
        known = self._catalog.integrations
        if group != "*" and group not in known:
            raise Invalid(
                f"there is no integration {group}.{did_you_mean(group, known)}", pointer=place
            )
        if name:
            function = known[group].by_name.get(name)
            if function is None:
                near = did_you_mean(name, [one.name for one in known[group].functions])
                raise Invalid(f"there is no function {group}.{name}.{near}", pointer=place)
            rule = replace(rule, pattern=function.full_name)
        self._check_parameters(rule, pointer)
        return rule

    def _check_parameters(self, rule: Rule, pointer: str) -> None:
        if rule.arguments is None:
            return
        known = self._parameters_of(rule.pattern)
        schema = orjson.loads(rule.arguments)
        named = [*schema.get("properties", {}), *schema.get("required", [])]
        wrong = next((name for name in named if name not in known), None)
        if wrong is not None:
            raise Invalid(
                f"{rule.pattern} has no parameter {ascii(wrong)[:80]}.{did_you_mean(wrong, known)}",
                pointer=f"{pointer}/arguments",
                hint="an argument that no call has would never be limited",
            )

    def _parameters_of(self, pattern: str) -> frozenset[str]:
        if pattern not in self._parameters:
            covered = self._covered(pattern)
            self._parameters[pattern] = frozenset(n for one in covered for n in one.properties)
        return self._parameters[pattern]

    def _covered(self, pattern: str) -> Iterator[Function]:
        group = pattern.partition(":")[0].partition(".")[0]
        every = self._catalog.integrations
        for integration in every.values() if group == "*" else [every[group]]:
            for one in integration.functions:
                if pattern in patterns_of(one.full_name, one.effect_class):
                    yield one
