"""What a check of a script says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Most findings of one check; the rest would only be noise.
MAX_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that is wrong. `line` and `column` count from 1, columns in characters.

    `code` is one of `CODES`; `hint` says what to do about it.
    """

    line: int
    column: int
    code: str
    message: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the finding as JSON."""
        return {
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


#: Every code of a finding, and what it says.
CODES: dict[str, str] = {
    "syntax_error": "it is not Lua 5.4",
    "unknown_integration": "no integration has this name",
    "unknown_function": "the integration, or `docs`, has no such function",
    "unknown_name": "there is no such global, or no such member of one",
    "unknown_parameter": "the function has no such parameter",
    "missing_parameter": "a required parameter is not given",
    "wrong_type": "the parameter takes another type",
    "out_of_range": "the value is too small, too large, too short or too long",
    "invalid_value": "the value does not fit the parameter in another way",
    "invalid_arguments": "the arguments as a whole do not fit",
    "method_call": "it is called with `:` in place of `.`",
    "too_large": "it has more bytes than a script may have",
}


@dataclass(slots=True)
class Needs:
    """
    What a script can name.

    `functions` are full names (`mux.list_assets`), `accounts` names with their integration
    (`mux.default`), both sorted. `writes` tells whether one of the functions is a write; `dynamic`
    whether there may be more, since some names are only made while the script runs.
    """

    functions: list[str] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    writes: bool = False
    dynamic: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give the needs as JSON."""
        return {
            "functions": self.functions,
            "accounts": self.accounts,
            "writes": self.writes,
            "dynamic": self.dynamic,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found, in the order of the script; at most `MAX_FINDINGS`."""

    findings: list[Finding]
    needs: Needs

    @property
    def ok(self) -> bool:
        """Tell whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Give the whole report as JSON."""
        return {
            "ok": self.ok,
            "findings": [one.to_json() for one in self.findings],
            "needs": self.needs.to_json(),
        }
