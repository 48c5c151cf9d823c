"""A Redis behind a wire on which everything takes long."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from tests.loopback_listener import LoopbackListener, hang_up

_CHUNK = 1 << 16


class SlowRedis(LoopbackListener):
    """
    Forwards a TCP port to the Unix socket of a real server.

    What goes toward the server waits for `delay_s` seconds first; it can be changed at any time,
    also for what is waiting already.
    """

    def __init__(self, socket_path: str) -> None:
        super().__init__()
        self._path = socket_path
        self.url = f"redis://127.0.0.1:{self.port}"
        self._delay_s = 0.0
        self._changed = threading.Condition()

    @property
    def delay_s(self) -> float:
        """Give the seconds that each piece of traffic toward the server takes."""
        return self._delay_s

    @delay_s.setter
    def delay_s(self, seconds: float) -> None:
        with self._changed:
            self._delay_s = seconds
            self._changed.notify_all()

    def met(self, client: socket.socket) -> None:
        """Forward in both directions, each in a thread of its own."""
        server = self.keep(socket.socket(socket.AF_UNIX))
        try:
            server.connect(self._path)
        except OSError:  # the server itself is away
            hang_up(client)
            return
        for source, sink, slow in ((client, server, True), (server, client, False)):
            threading.Thread(
                target=self._forward, args=(source, sink), kwargs={"slow": slow}, daemon=True
            ).start()

    def _forward(self, source: socket.socket, sink: socket.socket, *, slow: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if slow:
                    self._linger()
                sink.sendall(data)
        hang_up(source)
        hang_up(sink)

    def _linger(self) -> None:
        with self._changed:
            given = self._delay_s
            if given:
                self._changed.wait_for(lambda: self._delay_s < given, given)
