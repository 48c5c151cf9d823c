"""What a run's record says it was executed with."""

from __future__ import annotations

import re

import orjson

from runs.endings import Ending, tape_body
from sandbox.outcome import Reason
from sandbox.versions import versions


def test_an_executed_run_names_engine_and_policy() -> None:
    """The tape's last entry has them when there was an engine, and null when there was none."""
    made = versions()
    assert set(made) == {"moonsand", "engine", "policy"}
    assert re.fullmatch(r"[0-9a-f]{64}", made["policy"])
    executed = orjson.loads(tape_body(Ending(Reason.OK), 1, made))
    assert executed["versions"] == made
    assert orjson.loads(tape_body(Ending(Reason.CANCELLED), 0))["versions"] is None
