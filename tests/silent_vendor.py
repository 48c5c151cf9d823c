"""A vendor that takes every request and never answers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from tests.loopback_listener import LoopbackListener


class SilentVendor(LoopbackListener):
    """
    Listens on loopback; `asked` is set once a whole request head has come.

    `accounts` is an accounts file in `directory` by which the Mux account of `tenant` leads here.
    """

    def __init__(self, directory: Path, tenant: str) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"
        self.accounts = directory / "accounts.toml"
        self.accounts.write_text(
            f"[tenants.{tenant}.mux.default]\n"
            f'token_id = "id"\ntoken_secret = "secret"\nbase_url = "{self.url}"\n'
        )
        self.asked = threading.Event()

    def met(self, client: socket.socket) -> None:
        """Read the head of a request."""
        head = b""
        with suppress(OSError):
            while b"\r\n\r\n" not in head and (data := client.recv(4096)):
                head += data
        if b"\r\n\r\n" in head:
            self.asked.set()
