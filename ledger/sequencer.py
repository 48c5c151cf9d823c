"""
The sequencer: takes the inbox in order into the archive. It is the only writer of the log.

Runs in: sequencer. Trusts: Redis for order, the archive for what was taken. Refuses: to write
after another has taken over; to take an entry twice; to delete what is not yet on the disk.
May import: stdlib, redis, core, ledger.

A batch is read, committed, and only then deleted from the inbox. A crash before the commit leaves
nothing; one after it leaves entries that are known by their ids and are only deleted. Two guards:
a lock in Redis lets others rest while one works, and the archive's epoch makes a writer harmless
that has lost the lock and does not know it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import LockError, RedisError

from core import keys
from core.errors import Unavailable
from ledger.archive import NewLeaf, Outrun, Payload, TapeLine
from ledger.leaves import MAX_LEAF_BYTES, LeafKind, leaf
from ledger.lock import LOCK_S, ledger_lock
from ledger.taking import Ended, Sealer, TapeTaking, read_ended
from ledger.terms_payloads import take_endings, take_surfaces, take_terms

if TYPE_CHECKING:
    from redis import Redis
    from redis.lock import Lock

    from ledger.archive import Archive
    from ledger.checkpoints import Checkpoints

_BATCH = 500
_TAPES_AT_ONCE = 64
_TAPE_STEP = 16
_STAGE_BYTES = 4 * 1024 * 1024
_PAUSE_S = 1.0
#: Entries that come one by one are gathered for so long, also the first one after a rest: each
#: commit waits for the disk, and the run just accepted is about to end.
_GATHER_S = 0.05
#: Gives a tape its time to live if it has not gone on since: ARGV seq ttl_s.
_LET_GO = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last and last[1] == ARGV[1] .. '-0' then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
"""


@dataclass(slots=True)
class _Batch:
    """What is committed together. `lines` and `payloads` are what is not staged yet."""

    leaves: list[NewLeaf] = field(default_factory=list)
    lines: list[TapeLine] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    waiting_bytes: int = 0

    def add(self, line: TapeLine, payload: Payload) -> None:
        self.lines.append(line)
        self.payloads.append(payload)
        self.waiting_bytes += len(line.data) + len(payload.data)

    def clear(self) -> None:
        self.lines, self.payloads, self.waiting_bytes = [], [], 0


class Sequencer:
    """One sequencer. It owns the archive as long as it holds the lock."""

    def __init__(
        self, redis: Redis, archive: Archive, sealer: Sealer, checkpoints: Checkpoints
    ) -> None:
        self._redis = redis
        self._archive = archive
        self._sealer = sealer
        self._checkpoints = checkpoints
        self._lock: Lock = ledger_lock(redis)
        self._let_go = redis.register_script(_LET_GO)
        self._epoch: int | None = None
        self._renew_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """
        Take what comes until `stop` is set.

        Raises:
            LedgerDamaged: the archive is not what was signed; nothing more is written.
        """
        log = structlog.get_logger(__name__)
        while not stop.is_set():
            try:
                if not self._holds():
                    stop.wait(_PAUSE_S)
                    continue
                taken = self.once()
                self._checkpoints.maybe(self._epoch or 0)
                if not taken:
                    self._wait()
                if taken < _BATCH:
                    stop.wait(_GATHER_S)
            except Outrun:
                log.warning("sequencer_outrun")
                self._epoch = None
            except (RedisError, OSError, Unavailable) as error:
                detail = str(error)[:200]
                log.warning("sequencer_put_off", error=type(error).__name__, detail=detail)
                stop.wait(_PAUSE_S)
        self._release()

    def take_over(self) -> bool:
        """
        Become the one sequencer, if no other is at work.

        Raises:
            LedgerDamaged: the archive does not go on from a checkpoint that was signed.
        """
        if not self._lock.acquire(blocking=False):
            return False
        self._renew_at = time.monotonic() + LOCK_S / 3
        try:
            epoch = self._archive.take_over()
            self._checkpoints.check()
            self._sealer.begin(epoch)
        except BaseException:
            self._let_others()
            raise
        self._epoch = epoch
        structlog.get_logger(__name__).info(
            "sequencer_at_work", epoch=epoch, leaves=self._archive.size
        )
        return True

    def once(self) -> int:
        """Take one batch; give how many entries of the inbox are done with."""
        rows: Any = self._redis.xrange(keys.LEDGER_INBOX, count=_BATCH)
        if not rows:
            return 0
        entries = [(row_id.decode(), fields) for row_id, fields in rows]
        self._archive.discard(self._own())  # of a batch that broke off
        known = self._archive.known([inbox_id for inbox_id, _ in entries])
        batch = self._read([one for one in entries if one[0] not in known])
        if batch.leaves:
            size = self._archive.commit(self._own(), batch.leaves, batch.lines, batch.payloads)
            structlog.get_logger(__name__).debug("sequenced", leaves=size, new=len(batch.leaves))
        self._forget(entries)
        return len(entries)

    # --- reading -------------------------------------------------------------------------------

    def _read(self, entries: Sequence[tuple[str, Mapping[bytes, bytes]]]) -> _Batch:
        batch, ended, leaves = _Batch(), [], {}
        for inbox_id, fields in entries:
            if fields.get(b"kind") == b"run.finished":
                ended.append(read_ended(inbox_id, fields))
            else:
                leaves[inbox_id] = _given(inbox_id, fields)
        accepted = [one for one in entries if one[1].get(b"kind") == b"run.accepted"]
        terms = [leaves[inbox_id] for inbox_id, _ in accepted]
        self._keep(batch, take_terms(self._redis, self._archive, self._sealer, terms))
        for at in range(0, len(ended), _TAPES_AT_ONCE):
            part = ended[at : at + _TAPES_AT_ONCE]
            taken = self._tapes(part, batch)
            self._keep(batch, take_surfaces(self._redis, self._archive, self._sealer, taken))
            self._keep(batch, take_endings(self._redis, self._sealer, taken))
            self._note_kept(batch, taken)
            leaves |= {one.ended.inbox_id: one.leaf() for one in taken}
        batch.leaves = [NewLeaf(inbox_id, leaves[inbox_id]) for inbox_id, _ in entries]
        return batch

    def _tapes(self, ended: Sequence[Ended], batch: _Batch) -> list[TapeTaking]:
        """Read some tapes side by side, a few entries of each in one round trip."""
        taken = [TapeTaking(one, self._sealer) for one in ended]
        open_ended: list[tuple[TapeTaking, str]] = [(one, "-") for one in taken]
        while open_ended:
            self._renew()
            pipeline = self._redis.pipeline(transaction=False)
            for one, start in open_ended:
                end = f"{one.ended.last_seq}-0"
                pipeline.xrange(keys.tape(one.ended.run), start, end, count=_TAPE_STEP)
            more = []
            for (one, _), rows in zip(open_ended, pipeline.execute(), strict=True):
                for row_id, fields in rows:
                    batch.add(*one.take(int(row_id.partition(b"-")[0]), fields))
                    self._stage(batch)
                if len(rows) == _TAPE_STEP:
                    more.append((one, f"({rows[-1][0].decode()}"))
            open_ended = more
        for one in taken:
            if not one.hashes:
                structlog.get_logger(__name__).error("tape_gone", run=one.ended.run)
        return taken

    def _keep(self, batch: _Batch, payloads: Iterable[Payload]) -> None:
        for payload in payloads:
            batch.payloads.append(payload)
            batch.waiting_bytes += len(payload.data)
            self._stage(batch)

    def _note_kept(self, batch: _Batch, taken: Sequence[TapeTaking]) -> None:
        """Tell each leaf which payloads the archive has: what is missing later was taken away."""
        ids = {payload_id for one in taken for payload_id in one.payload_ids().values()}
        there = self._archive.has_payloads(ids) | {payload.id for payload in batch.payloads}
        for one in taken:
            one.kept = sorted(name for name, found in one.payload_ids().items() if found in there)

    def _stage(self, batch: _Batch) -> None:
        # Tapes may be far greater than memory is to be: what is read goes to the disk ahead.
        if batch.waiting_bytes > _STAGE_BYTES:
            self._archive.stage(self._own(), batch.lines, batch.payloads)
            batch.clear()

    # --- afterwards ----------------------------------------------------------------------------

    def _forget(self, entries: Sequence[tuple[str, Mapping[bytes, bytes]]]) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        for inbox_id, fields in entries:
            if fields.get(b"kind") == b"run.finished":
                one = read_ended(inbox_id, fields)
                args = [one.last_seq, one.ttl_s]
                self._let_go(keys=[keys.tape(one.run)], args=args, client=pipeline)
        pipeline.xdel(keys.LEDGER_INBOX, *(inbox_id for inbox_id, _ in entries))
        pipeline.execute()

    def _wait(self) -> None:
        # `$` would miss what came in between; from 0 on, anything that stands there wakes us.
        self._redis.xread({keys.LEDGER_INBOX: "0"}, count=1, block=int(_PAUSE_S * 1000))

    # --- the lock ------------------------------------------------------------------------------

    def _own(self) -> int:
        if self._epoch is None:
            raise Outrun("this sequencer is not at work")
        return self._epoch

    def _holds(self) -> bool:
        if self._epoch is None:
            return self.take_over()
        self._renew()
        return True

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        try:
            self._lock.reacquire()
        except LockError as lost:
            raise Outrun("the sequencer's lock was lost") from lost
        self._renew_at = time.monotonic() + LOCK_S / 3

    def _release(self) -> None:
        """Sign what is not signed yet, and let another begin at once."""
        if self._epoch is None:
            return
        try:
            self._checkpoints.maybe(self._epoch, at_once=True)
        except (Outrun, Unavailable, RedisError, OSError) as error:
            log = structlog.get_logger(__name__)
            log.warning("sequencer_left_unsigned", error=type(error).__name__)
        self._epoch = None
        self._let_others()

    def _let_others(self) -> None:
        try:
            self._lock.release()
        except (LockError, RedisError):
            structlog.get_logger(__name__).info("sequencer_lock_left")


def _given(inbox_id: str, fields: Mapping[bytes, bytes]) -> bytes:
    """Give the leaf that an entry brings; of one that brings none, a leaf that says so."""
    data = fields.get(b"leaf", b"")
    if 0 < len(data) <= MAX_LEAF_BYTES:
        return data
    digest = hashlib.sha256(repr(sorted(fields.items())).encode()).hexdigest()
    at_ms = int(inbox_id.partition("-")[0])
    return leaf(LeafKind.UNREADABLE, inbox_id, tenant="", at_ms=at_ms, sha256=digest)
