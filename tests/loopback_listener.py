"""What stand-ins that speak raw TCP share: a port on loopback, and an end for every connection."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class LoopbackListener:
    """Listens at `port` while the block lasts, and gives each connection to `met` in a thread."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def met(self, client: socket.socket) -> None:
        """Take a connection; the next one is not accepted before this returns."""
        raise NotImplementedError

    def keep(self, one: socket.socket) -> socket.socket:
        """Hang up on this one too at the end."""
        self._open.append(one)
        return one

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
        for one in self._open:
            hang_up(one)
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.met(self.keep(client))


def hang_up(one: socket.socket) -> None:
    """Close a connection, whoever waits on it."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
