"""What runs see is worked out once for many, and never one run's for another."""

from __future__ import annotations

import itertools

from integrations.accounts import Accounts, AccountsFile
from integrations.visible import Visible
from tenancy.grants import Grants
from tests.shipped import CATALOG

RULES: tuple[list[str], ...] = (
    [],
    ["mux:read"],
    ["mux"],
    ["deny:mux.create_asset", "*"],
    ["mux.list_assets"],
)
NAMES = ((), ("default",), ("default", "work"), ("work",))


def accounts(names: tuple[str, ...], secret: str) -> Accounts:
    """Make accounts of Mux with these names."""
    fields = f'token_id = "{secret}"\ntoken_secret = "{secret}"\n'
    text = "".join(f"[mux.{name}]\n{fields}" for name in names)
    return AccountsFile.parse(text, CATALOG).for_tenant(None)


def test_a_remembered_surface_is_that_of_its_own_grants_and_accounts() -> None:
    """Asked in any order, again and again, each pair gets what a fresh memory works out."""
    shared = Visible(CATALOG)
    for secret, rules, names in itertools.product(("a", "b"), RULES, NAMES):
        grants, held = Grants.parse(rules), accounts(names, secret)
        fresh = Visible(CATALOG).surface(grants, held)
        assert shared.surface(grants, held) == fresh, (rules, names)


def test_other_credentials_under_the_same_names_are_seen_alike() -> None:
    """Only names count: a changed secret neither shows nor makes the worker work it out again."""
    shared, grants = Visible(CATALOG), Grants.parse(["mux:read"])
    first = shared.surface(grants, accounts(("default", "work"), "a"))
    assert shared.surface(grants, accounts(("default", "work"), "b")) is first
    assert list(first["mux"].accounts) == ["default", "work"]
    assert "create_asset" not in first["mux"].functions
