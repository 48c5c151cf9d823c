"""
Whether a run may make a call: its grants, asked about every call again.

It knows names, classes, accounts and arguments, and neither packs nor vendors: whatever can be
called comes through here. What a run used of a limit is counted here, in one event loop, without
a wait between asking and counting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from core.calls import Effect, EffectClass
from integrations.argument_problems import problem_text
from integrations.arguments import MAX_EXPLAINED, MAX_PROBLEMS, count_values
from integrations.failure import NOT_SENT, CallFailed, printable
from tenancy.grant_rules import Rule, patterns_of
from tenancy.grant_schema import MAX_MATCHED_BYTES
from tenancy.grants import Grants, Whose

_TO_WHOM = {
    Whose.TENANT: "this tenant",
    Whose.KEY: "this run's key",
    Whose.MAKER: "the key that made this run's schedule",
    Whose.RUN: "this run",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is called: all its full names, its own first, and its class."""

    names: tuple[str, ...]
    effect_class: EffectClass

    @classmethod
    def of(cls, integration: str, names: Iterable[str], effect_class: EffectClass) -> Subject:
        """Name a function of an integration."""
        return cls(tuple(f"{integration}.{name}" for name in names), effect_class)

    @property
    def name(self) -> str:
        """Give `mux.create_asset`."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Admission:
    """
    A call that is within all limits.

    `asked_by` is the rule that wants an approval first, if one does. `counted` are the limits that
    the call uses up by one.
    """

    asked_by: Rule | None
    counted: tuple[tuple[Whose, Rule], ...]


class Gate:
    """The grants of one run and what it used of them."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._used: Counter[tuple[Whose, Rule]] = Counter()

    def has(self, subject: Subject) -> bool:
        """Tell whether a function is there at all; one that asks first is."""
        return all(rules for _, rules in self._deciding(subject))

    def accounts(self, subject: Subject, known: Sequence[str]) -> list[str]:
        """Give those of the known accounts that a function may be called with."""
        sets = [rules for _, rules in self._deciding(subject)]
        return [one for one in known if all(any(r.takes(one) for r in rules) for rules in sets)]

    def check(self, subject: Subject, account: str | None) -> None:
        """
        See that a function may be called with an account, whatever the arguments.

        Raises:
            CallFailed: `denied`.
        """
        for whose, rules in self._deciding(subject):
            if not rules:
                raise self._not_granted(subject, whose)
            if not any(rule.takes(account) for rule in rules):
                raise _wrong_account(subject, whose, rules, account)

    def asks(self, subject: Subject, account: str | None) -> Rule | None:
        """Give a rule that may want an approval, depending on the arguments; None if none does."""
        rules = [rule for _, rules in self._deciding(subject) for rule in rules]
        return next((one for one in rules if one.takes(account) and self._grants.asks(one)), None)

    def admit(self, subject: Subject, account: str | None, arguments: Any) -> Admission:
        """
        See that a call may be made; `arguments` are those that would be sent, by their names.

        Of the rules that decide in one set, those that the call fits count: one of them must
        fit, and the strictest of them holds.

        Raises:
            CallFailed: `denied`, `arguments_denied` or `calls_used_up`.
        """
        self.check(subject, account)
        holding = []
        for whose, rules in self._deciding(subject):
            right = [rule for rule in rules if rule.takes(account)]
            _check_size(subject, right, arguments)
            fitting = [rule for rule in right if _fits(rule, arguments)]
            if not fitting:
                raise _wrong_arguments(subject, whose, right[0], arguments)
            holding += [(whose, rule) for rule in fitting]
        counted = [(whose, rule) for whose, rule in holding if rule.calls_per_run is not None]
        for whose, rule in counted:
            self._check_used(subject, whose, rule)
        asked_by = next((rule for _, rule in holding if self._grants.asks(rule)), None)
        # A run that is executed again has the rules of its acceptance and those of today.
        return Admission(asked_by, tuple(dict.fromkeys(counted)))

    def count(self, admission: Admission) -> None:
        """Count a call that is made now."""
        self._used.update(admission.counted)

    def _deciding(self, subject: Subject) -> Iterable[tuple[Whose, tuple[Rule, ...]]]:
        return self._grants.deciding(subject.names, subject.effect_class)

    def _not_granted(self, subject: Subject, whose: Whose) -> CallFailed:
        rules = dict(self._grants.sets)[whose]
        denial = rules.denial(subject.names, subject.effect_class)
        if denial is None:
            by_class = patterns_of(subject.name, subject.effect_class)[1]
            told = f"is not granted to {_TO_WHOM[whose]}; it needs the grant {by_class} or"
            told = f"{told} {subject.name}"
        else:
            told = f"is denied to {_TO_WHOM[whose]} by the grant {denial}"
        message = f"{subject.name} {told}; {NOT_SENT}"
        return CallFailed("denied", message, effect=Effect.DENIED)

    def _check_used(self, subject: Subject, whose: Whose, rule: Rule) -> None:
        used, allowed = self._used[whose, rule], rule.calls_per_run
        if allowed is not None and used >= allowed:
            raise CallFailed(
                "calls_used_up",
                f"{subject.name}: {_TO_WHOM[whose]} is granted {allowed} calls of {rule.pattern}"
                f" in one run, and {used} were made; {NOT_SENT}",
                effect=Effect.DENIED,
            )


def approval_required(subject: Subject, asked_by: Rule) -> CallFailed:
    """Make the error of a call that has to be approved first and was not."""
    forced = "; a run with `force` makes it without asking" if asked_by.by_class else ""
    return CallFailed(
        "approval_required",
        f"{subject.name} needs an approval, by the grant {asked_by}{forced}; {NOT_SENT}",
        effect=Effect.DENIED,
    )


def _check_size(subject: Subject, rules: Sequence[Rule], arguments: Any) -> None:
    if not any(rule.patterns for rule in rules):
        return
    size = len(orjson.dumps(arguments))
    if size > MAX_MATCHED_BYTES:
        raise CallFailed(
            "arguments_denied",
            f"{subject.name}: the arguments have {size} bytes; where grants have patterns for them,"
            f" {MAX_MATCHED_BYTES} are allowed; {NOT_SENT}",
            effect=Effect.DENIED,
        )


def _fits(rule: Rule, arguments: Any) -> bool:
    return rule.validator is None or rule.validator.is_valid(arguments)


def _wrong_account(
    subject: Subject, whose: Whose, rules: Sequence[Rule], account: str | None
) -> CallFailed:
    allowed = ", ".join(dict.fromkeys(name for rule in rules for name in rule.accounts or ()))
    named = "without an account" if account is None else f"with account {printable(account, 64)}"
    return CallFailed(
        "denied",
        f"{subject.name} {named} is not granted to {_TO_WHOM[whose]};"
        f" accounts it may use: {allowed}; {NOT_SENT}",
        effect=Effect.DENIED,
    )


def _wrong_arguments(subject: Subject, whose: Whose, rule: Rule, arguments: Any) -> CallFailed:
    return CallFailed(
        "arguments_denied",
        f"{subject.name} with these arguments is not granted to {_TO_WHOM[whose]}:"
        f" {_problems(rule, arguments)}; {NOT_SENT}",
        effect=Effect.DENIED,
    )


def _problems(rule: Rule, arguments: Any) -> str:
    validator = rule.validator
    if validator is None or count_values(arguments, MAX_EXPLAINED) > MAX_EXPLAINED:
        return "they do not fit (too large to say where)"
    errors = islice(validator.iter_errors(arguments), MAX_PROBLEMS)
    return "; ".join(dict.fromkeys(printable(problem_text(error), 500) for error in errors))
