"""
Where a person without a service keeps vendor accounts, and which of them a command here uses.

`moonsand integrations configure` writes `accounts.toml` and `policy.toml` in `moonsand` of the
user's configuration directory; commands that run or call something here read them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integrations.accounts import Accounts
    from integrations.catalog import Catalog


def configuration_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Give `moonsand` in the user's configuration directory; it need not exist."""
    environ = os.environ if environ is None else environ
    home = environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "moonsand"


def default_accounts_file() -> Path:
    """Give where accounts are kept unless an option or MOONSAND_ACCOUNTS names another file."""
    return configuration_directory() / "accounts.toml"


def accounts_of(given: Path | None, catalog: Catalog) -> Accounts:
    """
    Read the accounts of the file `given`, else of the default one; none if that is not there.

    Raises:
        Invalid: a file that was named can't be read, or something in a file is wrong.
    """
    from integrations.accounts import Accounts, AccountsFile  # noqa: PLC0415 (heavy)

    path = given or default_accounts_file()
    if given is None and not path.exists():
        return Accounts()
    return AccountsFile.load(path, catalog).for_tenant(None)
