"""A real API process's server, on loopback in a thread, for tests that speak HTTP to it."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import Any, Self

import httpx2

from api.main import Server
from core.redis_client import connect_async
from core.settings import Settings
from tenancy.keys import KeyStore
from tenancy.scopes import DEFAULT_SCOPES, Scope
from tests.deadline import Deadline


class ApiServer:
    """Serves until the `with` block ends."""

    def __init__(self, redis_url: str, **settings: Any) -> None:
        self.redis_url = redis_url
        self.server = Server(Settings(redis_url=redis_url, shutdown_grace_s=5, **settings))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.run, args=([self._socket],))

    def __enter__(self) -> Self:
        """Start, and wait until it serves."""
        self._thread.start()
        Deadline().until(lambda: self.server.started, "the start of the API")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop as a signal would, and wait for the end."""
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def new_key(self, tenant: str, scopes: tuple[Scope, ...] = DEFAULT_SCOPES) -> str:
        """Make an API key of `tenant`."""

        async def create() -> str:
            async with connect_async(self.redis_url) as redis:
                plain, _ = await KeyStore(redis).create(tenant, "test", scopes=scopes)
                return plain

        return asyncio.run(create())

    def client(self, tenant: str | None = None, **headers: str) -> httpx2.Client:
        """Make a client; with a key of `tenant` if one is named."""
        if tenant is not None:
            headers["Authorization"] = f"Bearer {self.new_key(tenant)}"
        return httpx2.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)
