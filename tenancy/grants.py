"""
Grants: what a run may call, by the rules of its tenant, of its key and of its own request.

Each of the three is a set of rules, or absent. In one set the most specific rules that cover a
function decide; no rule, no call. All sets that there are must allow a call, so that none can
widen another: what a run asks for only takes away.

| rule | covers |
|---|---|
| `mux.create_asset` | one function |
| `mux:read`, `mux:write` | the functions of one integration that read, or that write |
| `mux` | all of one integration |
| `*:read`, `*:write` | what reads, or what writes, of every integration |
| `*` | everything |

`write` does not include `read`: what is not named is not granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import orjson

from core.calls import EffectClass
from core.errors import Invalid
from tenancy.grant_rules import Permission, Rule, parse_rule, patterns_of

MAX_GRANTS = 256
#: Of one set, as JSON: it is stored with every run.
MAX_BYTES = 32_768
#: Of the schemas of one set together.
MAX_PATTERNS = 8


class Whose(StrEnum):
    """
    Whose set of rules one is.

    `maker` is what the key had that made the schedule which starts a run, when it made it: what it
    was given since is not the schedule's.
    """

    TENANT = "tenant"
    KEY = "key"
    MAKER = "maker"
    RUN = "run"


@dataclass(frozen=True)
class GrantSet:
    """One set of rules. Their order means nothing."""

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, given: Sequence[Any], pointer: str = "/grants") -> Self:
        """
        Take rules from texts and objects; an empty list grants nothing.

        Raises:
            Invalid: one is no rule, or there are more than `MAX_GRANTS` or `MAX_BYTES`.
        """
        if not isinstance(given, list | tuple):
            raise Invalid("it must be a list of grants", pointer=pointer)
        if len(given) > MAX_GRANTS:
            raise Invalid(f"more than {MAX_GRANTS} grants", pointer=pointer)
        rules: dict[Rule, None] = {}
        size = patterns = 0
        for index, one in enumerate(given):
            rule = parse_rule(one, f"{pointer}/{index}")
            if rule in rules:
                continue
            rules[rule] = None
            size += len(orjson.dumps(rule.to_json()))
            patterns += rule.patterns
            # At once: to read many schemas takes its time.
            if size > MAX_BYTES:
                raise Invalid(f"the grants have more than {MAX_BYTES} bytes", pointer=pointer)
            if patterns > MAX_PATTERNS:
                raise Invalid(
                    f"the schemas of the grants have more than {MAX_PATTERNS} patterns",
                    pointer=pointer,
                )
        return cls(tuple(rules))

    def deciding(self, names: Sequence[str], effect_class: EffectClass) -> tuple[Rule, ...]:
        """
        Give the rules that decide about a function; none when it may not be called.

        `names` are all full names it answers to: a rule about one of them is about the function.
        """
        found = self._most_specific(names, effect_class)
        return () if _denying(found) else found

    def denial(self, names: Sequence[str], effect_class: EffectClass) -> Rule | None:
        """Give the rule that denies a function; None when it is merely not granted, or is."""
        return _denying(self._most_specific(names, effect_class))

    def _most_specific(self, names: Sequence[str], effect_class: EffectClass) -> tuple[Rule, ...]:
        levels = zip(*(patterns_of(name, effect_class) for name in names), strict=True)
        for level in levels:
            found = [rule for one in dict.fromkeys(level) for rule in self._by_pattern.get(one, ())]
            if found:
                return tuple(found)
        return ()

    def to_json(self) -> list[str | dict[str, Any]]:
        """Give the rules as they are written, in the order given, without repeats."""
        return [rule.to_json() for rule in self.rules]

    @cached_property
    def _by_pattern(self) -> Mapping[str, Sequence[Rule]]:
        found: dict[str, list[Rule]] = {}
        for rule in self.rules:
            found.setdefault(rule.pattern, []).append(rule)
        return found


def _denying(rules: Sequence[Rule]) -> Rule | None:
    return next((rule for rule in rules if rule.permission is Permission.DENY), None)


@dataclass(frozen=True)
class Grants:
    """
    What one run may call: as much as all of its sets allow, and with none, everything.

    `force` takes `ask` by a rule about a class (`ask:mux:write`, `ask:*:write`) for `allow`, and
    changes nothing else.
    """

    sets: tuple[tuple[Whose, GrantSet], ...] = ()
    force: bool = False

    @classmethod
    def parse(cls, given: Sequence[Any]) -> Self:
        """
        Take the rules that a run asks for.

        Raises:
            Invalid: as `GrantSet.parse`.
        """
        return cls(((Whose.RUN, GrantSet.parse(given)),))

    @classmethod
    def everything(cls) -> Self:
        """Grant every function of every integration."""
        return cls()

    def forced(self, *, force: bool) -> Self:
        """Give the same grants, with or without force."""
        return replace(self, force=force)

    def allows(self, integration: str, function: str, effect_class: EffectClass | str) -> bool:
        """
        Tell whether a function is there for the run: limits and questions come with each call.

        Raises:
            ValueError: `effect_class` is neither `read` nor `write`.
        """
        effect = EffectClass(effect_class)
        return all(rules for _, rules in self.deciding((f"{integration}.{function}",), effect))

    def deciding(
        self, names: Sequence[str], effect_class: EffectClass
    ) -> Iterator[tuple[Whose, tuple[Rule, ...]]]:
        """Give, for every set, the rules that decide about a function; none if it is denied."""
        for whose, rules in self.sets:
            yield whose, rules.deciding(names, effect_class)

    def asks(self, rule: Rule) -> bool:
        """Tell whether a call that this rule decides needs an approval."""
        forced = self.force and rule.by_class
        return rule.permission is Permission.ASK and not forced

    def to_json(self) -> Any:
        """Give what is kept with a run: nothing, its own list, or each set by its name."""
        sets = {whose.value: rules.to_json() for whose, rules in self.sets}
        return kept_form(sets, force=self.force)

    @classmethod
    def of_json(cls, kept: Any) -> Self:
        """
        Give the grants that were kept with a run.

        Raises:
            Invalid: it is nothing that `to_json` gave; nothing may be called then.
        """
        if kept is None:
            return cls()
        if isinstance(kept, list):
            return cls.parse(kept)
        if not isinstance(kept, dict) or not kept.keys() <= {*Whose, "force"}:
            raise Invalid("the grants that were kept with the run are malformed")
        sets = tuple(
            (whose, GrantSet.parse(kept[whose], f"/{whose}")) for whose in Whose if whose in kept
        )
        return cls(sets, kept.get("force") is True)


def kept_form(sets: Mapping[str, Any], *, force: bool) -> Any:
    """Give the shortest form that `Grants.of_json` takes, of sets as they are written."""
    if force:
        return {**sets, "force": True}
    return sets.get(Whose.RUN) if sets.keys() <= {Whose.RUN} else dict(sets)
