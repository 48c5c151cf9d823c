"""A vendor that takes every request and never answers."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class SilentVendor:
    """
    Listens on loopback; `asked` is set once a whole request head has come.

    `accounts` is an accounts file in `directory` by which the Mux account of `tenant` leads here.
    """

    def __init__(self, directory: Path, tenant: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.accounts = directory / "accounts.toml"
        self.accounts.write_text(
            f"[tenants.{tenant}.mux.default]\n"
            f'token_id = "id"\ntoken_secret = "secret"\nbase_url = "{self.url}"\n'
        )
        self.asked = threading.Event()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        """Start to listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            head = b""
            while b"\r\n\r\n" not in head and (data := client.recv(4096)):
                head += data
            if head:
                self.asked.set()
