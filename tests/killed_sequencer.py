"""
A sequencer in a process of its own that kills itself with signal 9 at one boundary.

Run as `python -m tests.killed_sequencer URL DIRECTORY OBJECTS BOUNDARY before|after NTH`: it dies
right before, or right after, the NTH time that BOUNDARY is done.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ledger.sequencer
from core.redis_client import connect
from ledger.checkpoints import Checkpoints
from ledger.sequencer import Sequencer
from tenancy.master_keys import MasterKeys
from tenancy.payload_keys import PayloadSealer
from tests.archive_kinds import create_archive
from tests.sequencing import KEY

#: What changes something: in the archive, and in Redis by sending it.
BOUNDARIES = (
    *("take_over", "keep_data_key", "stage", "commit", "keep_checkpoint"),
    *("forget", "publish"),
)
#: Each single write of an archive of objects.
OBJECT_WRITES = ("create", "create_all", "replace")
MASTER = "one:" + "A" * 43 + "="


def main(url: str, directory: str, objects: str, *death: str) -> None:
    """Take what stands in the inbox until killed."""
    boundary, when, nth = death
    vars(ledger.sequencer).update(_BATCH=5, _STAGE_BYTES=2_000)
    archive = create_archive(Path(directory), objects)
    with connect(url) as redis:
        checkpoints = Checkpoints(archive, KEY, redis, every_s=0.0)
        sealer = PayloadSealer(archive, MasterKeys.parse(MASTER))
        sequencer = Sequencer(redis, archive, sealer, checkpoints)
        places: dict[str, tuple[Any, str]] = {
            "forget": (sequencer, "_forget"),
            "publish": (checkpoints, "_publish"),
        }
        if boundary in OBJECT_WRITES:
            places[boundary] = (vars(archive)["_store"], boundary)
        owner, name = places.get(boundary, (archive, boundary))
        setattr(owner, name, deadly(getattr(owner, name), when, int(nth)))
        sequencer.run(threading.Event())


def deadly(done: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    """Make a function that ends this process the `nth` time it is called."""
    calls = 0

    def call(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        made = done(*given, **named)
        if calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    return call


if __name__ == "__main__":
    main(*sys.argv[1:])
