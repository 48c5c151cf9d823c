"""Which API a client command speaks to, and with which key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from core.errors import Invalid, Unauthenticated
from moonsand.local_state import LocalState, default_directory

if TYPE_CHECKING:
    from moonsand.batch_client import BatchClient
    from moonsand.client import AsyncClient

Url = Annotated[
    str | None,
    typer.Option(envvar="MOONSAND_URL", help="Address of the API (default: the local service)."),
]
Key = Annotated[
    str | None,
    typer.Option(envvar="MOONSAND_API_KEY", help="API key (default: that of the local service)."),
]
_ADDRESS = re.compile(r"https?://[\x21-\x7e]+")


def open_client(url: str | None, key: str | None) -> AsyncClient:
    """
    Make a client from the options, the environment, or what the local service left.

    The local service's key is used for its own address only.

    Raises:
        Invalid: the address or the key is malformed.
        Unauthenticated: there is no key to use.
    """
    from moonsand.client import AsyncClient  # noqa: PLC0415 (heavy)

    return AsyncClient(*_service(url, key))


def open_batches(url: str | None, key: str | None) -> BatchClient:
    """Make a client of batches, as `open_client` does."""
    from moonsand.batch_client import BatchClient  # noqa: PLC0415 (heavy)

    return BatchClient(*_service(url, key))


def _service(url: str | None, key: str | None) -> tuple[str, str]:
    from moonsand.async_asking import DEFAULT_URL  # noqa: PLC0415 (heavy)

    local = LocalState.load(default_directory())
    if url is None:
        url = local.url if local else DEFAULT_URL
    _check_address(url)
    if key is None and local is not None and url.rstrip("/") == local.url:
        key = local.key
    if key is None:
        raise Unauthenticated(
            f"no API key for {url}",
            hint="give --key, set MOONSAND_API_KEY, or start `moonsand serve` here",
        )
    if not (key.isascii() and key.isprintable()):
        raise Invalid("the API key is malformed: no key has such characters")
    return url, key


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.hostname and parts.port != 0  # the port is read, and refused, here
    except ValueError:
        good = False
    if not (good and _ADDRESS.fullmatch(url)):
        raise Invalid(
            f"{url[:100]!r} is no address of an API: give http://HOST:PORT or https://HOST"
        )
