"""Where the chains of a script lead: findings about them, and what the script needs."""

from __future__ import annotations

import re

from core.calls import EffectClass
from integrations.catalog import Catalog
from integrations.check_arguments import misfits_of
from integrations.check_chains import Chain, Local, Scopes, Use
from integrations.check_globals import is_known, missing
from integrations.check_literals import literals_of
from integrations.check_report import MAX_FINDINGS, Finding, Needs
from integrations.check_syntax import Parsed
from integrations.failure import did_you_mean, printable
from integrations.function import Function
from integrations.pack import LUA_KEYWORDS
from sandbox.script_names import PROVIDED

Path = tuple[str, ...]
_ACCOUNT = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: Names of a chain that matter: app.integrations.<integration>.<account>.<function>, and `_G`.
_LONGEST = 6
_MOST_LISTED = 12
#: What calls functions by names that are only known when it runs.
_BY_NAME = frozenset({("mcp", "call")})
_PASSES_ON = frozenset({Use.VALUE, Use.OPENED})


class Names:
    """Goes over the chains of one script. `findings` and `needs` are what it found."""

    def __init__(self, catalog: Catalog, parsed: Parsed, scopes: Scopes) -> None:
        self.needs = Needs()
        self.findings: list[Finding] = []
        self._catalog = catalog
        self._parsed = parsed
        self._scopes = scopes
        self._paths: dict[int, Path | None] = {}
        self._functions: set[str] = set()
        self._accounts: set[str] = set()
        self._own = set(scopes.assigned)
        self._tested: set[Path] = set()
        self._members: set[Path] = set()
        # Whoever has the table of globals in hand may add to it.
        self._open_globals = False

    def run(self) -> None:
        """Find where every chain leads, then what is wrong with it."""
        for chain in self._scopes.chains:
            self._learn(chain)
        for chain in self._scopes.chains:
            path = self._paths[id(chain)]
            if path is not None:
                self._judge(chain, path)
        self.needs.functions = sorted(self._functions)
        self.needs.accounts = sorted(self._accounts)

    # --- where chains lead --------------------------------------------------------------------

    def _learn(self, chain: Chain) -> None:
        path = self._paths[id(chain)] = self._path(chain)
        if path is None:
            return
        if not path:  # `_G` itself
            self._open_globals |= chain.use in _PASSES_ON
        elif chain.use is Use.TARGET and len(path) == 1:
            self._own.add(path[0])
        elif chain.use is Use.TARGET:
            self._members.add(path[:2])
        elif chain.use is Use.TESTED:
            self._tested.add(path[:2])

    def _path(self, chain: Chain) -> Path | None:
        """Give the names from the first global on; None where they are not known."""
        names = tuple(name for name, _ in chain.names[:_LONGEST])
        if isinstance(chain.root, Local):
            alias = chain.root.alias
            if alias is None or chain.root.assigned:
                return None
            before = self._paths.get(id(alias))
            return None if before is None else (*before, *names)[:_LONGEST]
        path = (chain.root, *names)
        while path and path[0] == "_G":
            path = path[1:]
        return path

    # --- what is wrong with them --------------------------------------------------------------

    def _judge(self, chain: Chain, path: Path) -> None:
        if not path:
            self.needs.dynamic |= chain.use in _PASSES_ON
        elif path[0] in self._own:
            self.needs.dynamic |= path[0] in {"app", "docs"}
        elif path[0] == "docs" and len(path) > 1:
            self._judge_function(chain, ("docs", path[1]), path)
        elif path[:2] == ("app", "mcp") or path[:2] in _BY_NAME:
            # Which tools there are, the operator's servers say; no pack does.
            self.needs.dynamic = True
        elif path[:2] == ("app", "integrations"):
            self._judge_integration(chain, path)
        elif path[0] == "app" and (len(path) == 1 or path[1] in PROVIDED["app"]):
            self.needs.dynamic |= self._passes_on(chain)
        elif not self._open_globals:
            self._judge_global(chain, path)

    def _passes_on(self, chain: Chain) -> bool:
        """Tell whether others get what the chain leads to, who may reach all that is in it."""
        kept = chain.use is Use.INIT and chain.into is not None and not chain.into.assigned
        return chain.use in _PASSES_ON or (chain.use is Use.INIT and not kept)

    def _judge_global(self, chain: Chain, path: Path) -> None:
        root = path[:1]
        if is_known(path) or root in self._tested:
            return
        if is_known(root) and (path[:2] in self._members or chain.use is Use.TARGET):
            return
        # An unknown name is nil: testing it is well, and so is catching the error of a call.
        harmless = len(path) == 1 or is_known(root)
        guarded = chain.call is not None and chain.call.guarded
        if harmless and (chain.use is Use.TESTED or guarded or path[:2] in self._tested):
            return
        if len(self.findings) < MAX_FINDINGS:
            message, hint = missing(path, self._own)
            self._find(chain.word, "unknown_name", message, hint)

    def _judge_integration(self, chain: Chain, path: Path) -> None:
        if len(path) == 2:
            self.needs.dynamic |= self._passes_on(chain)
            return
        known = self._catalog.integrations
        if path[2] not in known or path[2] == "docs":
            self._unknown_integration(chain, path)
        elif len(path) == 3:
            self.needs.dynamic |= self._passes_on(chain)
        elif path[3] in known[path[2]].by_name:
            self._judge_function(chain, path[2:4], path)
        elif len(path) > 4:
            self._judge_function(chain, (path[2], path[4]), path, account=path[3])
        elif chain.use is Use.CALL or not _may_be_account(path[3]):
            self._unknown_function(chain, path)
        else:
            self.needs.dynamic |= self._passes_on(chain)

    def _judge_function(
        self, chain: Chain, name: Path, path: Path, account: str = "default"
    ) -> None:
        integration = self._catalog.integrations[name[0]]
        function = integration.by_name.get(name[1])
        if function is None:
            self._unknown_function(chain, path)
            return
        self._functions.add(function.full_name)
        self.needs.writes |= function.effect_class is EffectClass.WRITE
        if integration.pack is not None:
            self._accounts.add(f"{function.integration}.{account}")
        if chain.call is not None and chain.use is Use.CALL:
            self._judge_call(chain, function, path)

    def _judge_call(self, chain: Chain, function: Function, path: Path) -> None:
        call = chain.call
        if call is None or len(self.findings) >= MAX_FINDINGS:
            return
        if call.method:
            shown = ".".join(path)
            hint = f"Write {'.'.join(path[-2:])}(...)."
            self._find(chain.word, "method_call", f"call {shown} with '.', not with ':'", hint)
            return
        given = literals_of(call.arguments, self._parsed.tokens)
        for one in misfits_of(function, given)[:MAX_FINDINGS]:
            word = chain.word if one.word is None else one.word
            self._find(word, one.code, one.message, one.hint)

    # --- findings -----------------------------------------------------------------------------

    def _find(self, word: int, code: str, message: str, hint: str) -> None:
        line, column = self._parsed.lines.place(self._parsed.tokens[word].at)
        self.findings.append(Finding(line, column, code, message, hint))

    def _unknown_integration(self, chain: Chain, path: Path) -> None:
        if len(self.findings) >= MAX_FINDINGS:
            return
        known = [name for name in self._catalog.integrations if name != "docs"]
        near = did_you_mean(path[2], known)
        shown = printable(".".join(path[:3]), 130)
        hint = f"Known: {', '.join(known)}."
        if path[2] == "docs":
            hint = "The documentation is the global docs: docs.list(), docs.search(), docs.read()."
        self._find(chain.word, "unknown_integration", f"Unknown integration: {shown}.{near}", hint)

    def _unknown_function(self, chain: Chain, path: Path) -> None:
        if len(self.findings) >= MAX_FINDINGS:
            return
        group = "docs" if path[0] == "docs" else path[2]
        known = self._catalog.integrations[group].by_name
        meant = {alias: one.name for alias, one in known.items()}
        near = did_you_mean(path[-1], known, meant=meant)
        names = list(dict.fromkeys(meant.values()))
        more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
        hint = f"{group} has: {', '.join(names[:_MOST_LISTED])}{more}."
        shown = printable(".".join(path), 200)
        self._find(chain.word, "unknown_function", f"Unknown function: {shown}.{near}", hint)


def _may_be_account(name: str) -> bool:
    return _ACCOUNT.fullmatch(name) is not None and name not in LUA_KEYWORDS
