"""What can be an idempotency key: visible ASCII, so that nobody reads it as another one."""

from __future__ import annotations

HEADER = "Idempotency-Key"
MAX_CHARS = 255
_VISIBLE = range(0x21, 0x7F)


def fault_of_key(text: str) -> str | None:
    """Tell why `text` cannot be a key; None when it can."""
    if not 1 <= len(text) <= MAX_CHARS:
        return f"it must have 1 to {MAX_CHARS} characters, not {len(text)}"
    if any(ord(one) not in _VISIBLE for one in text):
        return "it must be visible ASCII characters, without spaces"
    return None
