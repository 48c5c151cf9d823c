"""
What happened on the wire during one call of an MCP server, kept apart from what the SDK says of it.

The SDK tells of most troubles in words only. Whether a byte left, with what status an answer came
and why it could not be used decides what is said of a write, so the transports note it themselves,
on the exchange of whoever sends: it goes along with the context of the sending task.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from integrations.vendor_http import NoAnswerKind, Progress


@dataclass(slots=True)
class Exchange:
    """One call as the wire has it. `max_bytes` is the most that one answer may have."""

    max_bytes: int
    progress: Progress = field(default_factory=Progress)
    trouble: NoAnswerKind | None = None


CURRENT: ContextVar[Exchange | None] = ContextVar("mcp_exchange", default=None)
