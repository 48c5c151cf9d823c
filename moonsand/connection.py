"""Which API a client command speaks to, and with which key."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import Unauthenticated
from moonsand.client import DEFAULT_URL, AsyncClient
from moonsand.local_state import LocalState, default_directory

Url = Annotated[
    str | None,
    typer.Option(envvar="MOONSAND_URL", help="Address of the API (default: the local service)."),
]
Key = Annotated[
    str | None,
    typer.Option(envvar="MOONSAND_API_KEY", help="API key (default: that of the local service)."),
]


def open_client(url: str | None, key: str | None) -> AsyncClient:
    """
    Make a client from the options, the environment, or what the local service left.

    The local service's key is used for its own address only.

    Raises:
        Unauthenticated: there is no key to use.
    """
    local = LocalState.load(default_directory())
    if url is None:
        url = local.url if local else DEFAULT_URL
    if key is None and local is not None and url.rstrip("/") == local.url:
        key = local.key
    if key is None:
        raise Unauthenticated(
            f"no API key for {url}",
            hint="give --key, set MOONSAND_API_KEY, or start `moonsand serve` here",
        )
    return AsyncClient(url, key)
