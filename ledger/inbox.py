"""
The ledger's inbox: what the sequencer has still to take, in a Redis stream.

Runs in: api, worker, CLI, sequencer. Trusts: Redis. Refuses: nothing; a bound on its length is
kept where runs are accepted. May import: core, redis.

An entry is written in the same transaction as what it tells of: in the scripts that accept and end
runs, and by `record` in the MULTI of every administrative change.
"""

from __future__ import annotations

from typing import Any

from core import keys


def record(pipeline: Any, leaf: bytes) -> None:
    """Put a leaf into the inbox with the other commands of `pipeline`, a MULTI of redis-py."""
    pipeline.xadd(keys.LEDGER_INBOX, {"kind": "leaf", "leaf": leaf})
