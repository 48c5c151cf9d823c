"""A Redis behind a wire that breaks at the worst moment: before a command, or after it was done."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from enum import Enum

from tests.loopback_listener import LoopbackListener, hang_up

_CHUNK = 1 << 16


class Fault(Enum):
    """What happens to one command."""

    CUT_BEFORE = "the connection breaks; the server never sees it"
    CUT_AFTER = "the server does it; the connection breaks before its answer is through"
    HOLD_BEFORE = "it is stuck on its way, and lost when its sender goes"
    HOLD_AFTER = "the server does it; the answer is stuck on its way"


class FlakyRedis(LoopbackListener):
    """
    Forwards a TCP port to the Unix socket of a real server.

    `arm(fault, word)` strikes once, at the next piece of traffic to the server that holds `word`,
    or at the `nth` time that word passes.
    """

    def __init__(self, socket_path: str) -> None:
        super().__init__()
        self._path = socket_path
        self.url = f"redis://127.0.0.1:{self.port}"
        self._armed: tuple[Fault, bytes, int] | None = None
        self._lock = threading.Lock()
        self.struck = threading.Event()

    def arm(self, fault: Fault, word: str, nth: int = 1) -> None:
        """Let `fault` happen to the `nth` command from now that holds `word`."""
        self.struck.clear()
        with self._lock:
            self._armed = fault, word.encode(), nth

    def met(self, client: socket.socket) -> None:
        """Forward in both directions, each in a thread of its own."""
        server = self.keep(socket.socket(socket.AF_UNIX))
        try:
            server.connect(self._path)
        except OSError:  # the server itself is away
            hang_up(client)
            return
        muted = threading.Event()
        for source, sink, toward_server in ((client, server, True), (server, client, False)):
            threading.Thread(
                target=self._forward,
                args=(source, sink, muted),
                kwargs={"toward": toward_server},
                daemon=True,
            ).start()

    def _forward(
        self, source: socket.socket, sink: socket.socket, muted: threading.Event, *, toward: bool
    ) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                fault = self._strikes(data) if toward else None
                if not toward and muted.is_set():
                    self.struck.set()
                    continue
                if fault in {Fault.CUT_AFTER, Fault.HOLD_AFTER}:
                    muted.set()  # before the command goes out: its answer must not get through
                if fault not in {Fault.CUT_BEFORE, Fault.HOLD_BEFORE}:
                    sink.sendall(data)
                if fault is Fault.CUT_AFTER:
                    self.struck.wait(5)
                elif fault is not None and fault is not Fault.HOLD_AFTER:
                    self.struck.set()
                if fault in {Fault.CUT_BEFORE, Fault.CUT_AFTER}:
                    break
        hang_up(source)
        hang_up(sink)

    def _strikes(self, data: bytes) -> Fault | None:
        with self._lock:
            if self._armed is None:
                return None
            fault, word, nth = self._armed
            nth -= data.count(word)
            self._armed = None if nth <= 0 else (fault, word, nth)
            return fault if nth <= 0 else None
