"""What is large and never changes is read once in each process that runs tests."""

from __future__ import annotations

import functools
from pathlib import Path

import httpcore2

from integrations import catalog
from integrations.pack import Pack


def keep() -> None:
    """
    Keep the shipped packs, and the authorities that this machine trusts, once they are read.

    A service reads them when it starts. Tests start hundreds of APIs and clients in one process,
    where reading was most of what these cost.
    """
    read = catalog.load_pack
    shipped = functools.cache(read)

    def load_pack(path: Path) -> tuple[Pack, str]:
        return shipped(path) if path.parent == catalog.PACKS else read(path)

    vars(catalog)["load_pack"] = load_pack
    vars(httpcore2)["default_ssl_context"] = functools.cache(httpcore2.default_ssl_context)
