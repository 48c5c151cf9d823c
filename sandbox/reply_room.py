"""
Room for the replies of one run: what they may take together is bounded, whatever a vendor sends.

Runs in: supervisor. Trusts: the answering side, that no reply is larger than the run allows.
Refuses: nothing; a call waits. May import: stdlib.

Nobody knows how large a reply will be, so a call takes room for the largest before it is answered
and gives back what is left over when the reply is there. A call that waits has no place in the
order of effects yet, so no reply ever waits for one that could not get room.
"""

from __future__ import annotations

import asyncio
from collections import deque

#: Bytes of all replies of a run that are under way or wait for the child.
MOST_HELD = 128 << 20


class ReplyRoom:
    """Counts bytes. `largest` is what one reply may have; one always finds room."""

    def __init__(self, largest: int, most: int = MOST_HELD) -> None:
        self._largest = largest
        self._free = max(most, largest)
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take room for one reply; who came first gets it first."""
        if not self._waiting and self._free >= self._largest:
            self._free -= self._largest
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given room, and goes without having heard of it
                self.leave(self._largest)
            raise

    def keep(self, size: int) -> None:
        """Give back what a reply of `size` bytes does not need."""
        self.leave(self._largest - size)

    def leave(self, size: int) -> None:
        """Give back the room of a reply that was sent."""
        self._free += size
        while self._waiting and self._free >= self._largest:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._free -= self._largest
                turn.set_result(None)
