"""
Adapters: what a pack's data cannot say, as Python functions named by the pack.

`adapter: heygen.create_video` is `create_video` in `integrations/adapters/heygen.py`:

    async def create_video(arguments: dict[str, Any], send: Send) -> Any: ...

It gives the reply. `send.mapped(arguments)` sends the pack's own request, `send(parts)` any other
to the same host, with the same credentials, rates, retries and limits. It keeps nothing between
calls and knows no credential.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

from core.calls import Effect
from integrations.request_parts import RequestParts


class Send(Protocol):
    """Sends one request of a call and gives the JSON value of its reply."""

    async def __call__(self, parts: RequestParts) -> Any:
        """Send what an adapter made."""

    async def mapped(self, arguments: Mapping[str, Any]) -> Any:
        """Send what the pack makes of arguments."""

    def refuse(self, problem: str) -> Exception:
        """Make the error that refuses arguments before anything was sent."""

    def failed(self, code: str, problem: str, *, effect: Effect | None = None) -> Exception:
        """
        Make the error for a reply that says no, or that cannot be used.

        `problem` may hold words of the vendor. `effect` is what this call did outside, when the
        reply says so; None: a write that was answered with success succeeded.
        """

    def setting(self, field: str) -> str | None:
        """Give a field of the account that is no secret; None when it has none."""


Adapter = Callable[[dict[str, Any], Send], Awaitable[Any]]


def find_adapter(name: str) -> Adapter:
    """
    Give the adapter a pack names.

    Raises:
        LookupError: there is none.
    """
    module, _, function = name.partition(".")
    full = f"{__name__}.{module}"
    if importlib.util.find_spec(full) is None:
        raise LookupError(f"there is no adapter {name}")
    found = getattr(importlib.import_module(full), function, None)
    if not callable(found) or function.startswith("_"):
        raise LookupError(f"there is no adapter {name}")
    return cast("Adapter", found)
