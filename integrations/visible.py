"""
What runs see of the catalog: the granted functions under every name, and the accounts they take.

That depends on a run's grants and on which accounts there are, and on nothing else of the run. Most
runs of a worker have these in common, so it is worked out once for all of them: the time it takes
grows with every function of every pack.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from integrations.accounts import Accounts, Place, names_among
from integrations.catalog import Catalog
from integrations.function import Function, Integration
from integrations.gate import Gate, Subject
from sandbox.calls import FunctionSurface
from sandbox.surface import Surface
from tenancy.grants import Grants

#: What every run may call: it only tells what a run may do otherwise.
OPEN = frozenset({"docs", "mcp"})
_REMEMBERED = 256


def subject_of(function: Function) -> Subject:
    """Name a function as grants know it."""
    return Subject.of(function.integration, function.names, function.effect_class)


def is_granted(gate: Gate, function: Function) -> bool:
    """Tell whether a function is there at all; one that asks first is."""
    return function.integration in OPEN or gate.has(subject_of(function))


class Visible:
    """Works out what runs see of one catalog, and remembers it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._of = lru_cache(maxsize=_REMEMBERED)(self._work_out)

    def surface(self, grants: Grants, accounts: Accounts) -> Surface:
        """Give it for a run; the same object may be given for another one."""
        return self._of(grants, accounts.places)

    def _work_out(self, grants: Grants, places: frozenset[Place]) -> Surface:
        gate, surface = Gate(grants), Surface()
        for integration in self._catalog.integrations.values():
            granted = [one for one in integration.functions if is_granted(gate, one)]
            names = [name for one in granted for name in one.names]
            if names:
                accounts = _accounts(gate, integration, granted, places)
                surface[integration.name] = FunctionSurface(tuple(names), accounts)
        return surface


def _accounts(
    gate: Gate, integration: Integration, granted: Iterable[Function], places: frozenset[Place]
) -> tuple[str, ...]:
    if integration.pack is None:
        return ("default",)
    known = names_among(places, integration.name)
    usable = {name for one in granted for name in gate.accounts(subject_of(one), known)}
    return tuple(name for name in known if name in usable)
