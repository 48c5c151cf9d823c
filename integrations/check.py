"""
Checks a script without running it: syntax, names, literal arguments, and what it needs.

It never says that something is wrong which could be right: what is only known while a script runs
is left alone. It reads hostile text: time and memory grow with the length of the script and with
nothing else, and no nesting is too deep for it.
"""

from __future__ import annotations

from integrations.catalog import Catalog
from integrations.check_chains import Scopes
from integrations.check_names import Names
from integrations.check_report import MAX_FINDINGS, Finding, Needs, Report
from integrations.check_scopes import scopes_of
from integrations.check_syntax import Parsed, parse
from integrations.check_tokens import Kind
from sandbox.limits import SPECS


def check_script(script: str, catalog: Catalog) -> Report:
    """Check a script against the functions of a catalog."""
    size, limit = len(script.encode("utf-8", "surrogatepass")), SPECS["script_bytes"].maximum
    if size > limit:
        message = f"the script has {size} bytes, {limit} are allowed"
        return Report([Finding(1, 1, "too_large", message)], Needs())
    parsed = parse(script)
    if parsed.fault is not None:
        line, column = parsed.lines.place(parsed.fault.at)
        wrong = Finding(line, column, "syntax_error", parsed.fault.message, parsed.fault.hint)
        return Report([wrong], Needs())
    scopes = scopes_of(parsed)
    if scopes.faults:
        return Report(_faults(parsed, scopes), Needs())
    if any(one.text == "_ENV" and one.kind is Kind.NAME for one in parsed.tokens):
        # Any name may mean anything.
        return Report([], Needs(dynamic=True))
    names = Names(catalog, parsed, scopes)
    names.run()
    findings = sorted(set(names.findings), key=lambda one: (one.line, one.column))
    return Report(findings[:MAX_FINDINGS], names.needs)


def _faults(parsed: Parsed, scopes: Scopes) -> list[Finding]:
    """Give what Lua's compiler would refuse though it is grammatical."""
    places = ((parsed.lines.place(parsed.tokens[word].at), text) for word, text in scopes.faults)
    found = {Finding(*place, "syntax_error", text) for place, text in places}
    return sorted(found, key=lambda one: (one.line, one.column, one.message))[:MAX_FINDINGS]
