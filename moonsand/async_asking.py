"""Where the clients send their requests, and what those for asyncio share."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from moonsand import exchange
from moonsand.exchange import Ask

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8420"


def http_options(url: str, key: str | None) -> dict[str, Any]:
    """Give what a client of httpx2 is made with to speak to the API at `url`."""
    headers = {"User-Agent": "moonsand"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    # No proxy from the environment: a key for a loopback address must not leave the machine.
    options: dict[str, Any] = {"base_url": url, "headers": headers, "trust_env": False}
    if url.startswith("http://"):
        # It trusts nobody, as nobody is to be: to read all authorities takes longer than to ask.
        options["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return options


class AsyncAsking:
    """Connections to the API for asyncio. Close it, or use it in `async with`."""

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.AsyncClient(**http_options(self.url, key))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Give the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def _ask(self, ask: Ask[T]) -> T:
        try:
            response = await self._http.request(
                *(ask.method, ask.path),
                json=ask.json,
                params=ask.params,
                headers=ask.headers,
                timeout=ask.timeout_s,
            )
        except httpx2.TransportError as error:
            raise exchange.no_connection(self.url, error) from error
        return exchange.read_answer(ask, response)
