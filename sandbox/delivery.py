"""
Replies on their way to one child: in the order of the tape, one frame after another.

Runs in: supervisor. Trusts: the answering side's `order`. Refuses: a place given twice.
May import: stdlib.

Calls are answered by tasks of their own. Two that end together may come here in either order, so
the order in which their effects were recorded travels with the reply, and whoever comes early
leaves its reply for the one before it to send. A run over the same tape then gets the same replies
in the same order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

#: Sends the reply to a call: its number, and the whole frame.
SendReply = Callable[[int, bytes], Awaitable[None]]


class Delivery:
    """Sends the replies of one run. Frames never mix: one task at a time sends, for all."""

    def __init__(self, send: SendReply) -> None:
        self._send = send
        self._next = 1
        self._early: dict[int, tuple[int, bytes]] = {}
        self._ready: deque[tuple[int, bytes]] = deque()
        self._sending = False

    async def deliver(self, seq: int, order: int | None, frame: bytes) -> None:
        """
        Send the reply to call `seq` once all replies of a lower `order` were sent.

        It may return before that: then another call of this method sends it. Without an order it
        is sent after what is ready now.

        Raises:
            ValueError: there was a reply of this order.
        """
        if order is None:
            self._ready.append((seq, frame))
        else:
            self._take_place(seq, order, frame)
        if self._sending:
            return
        self._sending = True
        try:
            while self._ready:
                await self._send(*self._ready.popleft())
        finally:
            self._sending = False

    def _take_place(self, seq: int, order: int, frame: bytes) -> None:
        if order < self._next or order in self._early:
            raise ValueError(f"two replies of order {order}")
        self._early[order] = (seq, frame)
        while (ready := self._early.pop(self._next, None)) is not None:
            self._ready.append(ready)
            self._next += 1
