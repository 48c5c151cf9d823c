"""One call that is answered here, without any vendor: the documentation, and tests' functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from integrations.arguments import deeper_than
from integrations.failure import CallFailed
from integrations.function import Function
from integrations.sender import Bounds
from integrations.vendor_call import Value
from integrations.vendor_http import Progress


@dataclass(slots=True)
class LocalCall:
    """One call, ready to be carried out. Nothing is ever sent: `progress` stays as it is."""

    function: Function
    arguments: Any
    progress: Progress = field(default_factory=Progress)

    @property
    def idempotency_key(self) -> None:
        """Nothing is sent, so nothing needs a key."""

    async def carry_out(self, bounds: Bounds) -> Value:
        """
        Give the value.

        Raises:
            CallFailed: the function failed, or its value is over the limits.
        """
        if self.function.local is None:
            raise TypeError(f"{self.function.full_name} is not answered here")
        value = self.function.local(self.arguments)
        if deeper_than(value, bounds.depth):
            raise CallFailed(
                "reply_too_deep",
                f"{self.function.full_name}: the reply is nested deeper than {bounds.depth} levels",
            )
        body = orjson.dumps(value)
        if len(body) > bounds.reply_bytes:
            raise CallFailed(
                "reply_too_large",
                f"{self.function.full_name}: the reply has {len(body)} bytes,"
                f" {bounds.reply_bytes} are allowed",
            )
        return Value(body)
