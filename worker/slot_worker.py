"""
The RQ worker: RQ's `work()` loop, claiming many runs at a time and handing them to the engine.

Runs in: worker. Trusts: Redis. Refuses: to import or call anything that a job names.
May import: rq, runs, redis.

All of RQ that this product touches is in this module. What is overridden and why is in
docs/adr/0003-rq-with-one-claim-and-one-finish-script.md.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, worker_registration
from rq.command import handle_command, parse_payload
from rq.defaults import RQ_KEY_PREFIX
from rq.job import Job
from rq.utils import now
from rq.worker.base import BaseWorker, WorkerStatus

from core import keys
from core.errors import Broken
from core.redis_client import takes_no_writes
from worker.claim import MAX_BATCH, Claim, Claimer, Turn

if TYPE_CHECKING:
    from redis import Redis

    from worker.engine import Engine
    from worker.plan import WorkerPlan
    from worker.slots import Room

_WAIT_S = 1.0
_STEP_S = 0.2
#: The worker's record names them all, and is written again with each: 100,000 tenants would make it
#: megabytes.
_SHOWN_QUEUES = 1_000
_AWAY = (RedisConnectionError, RedisTimeoutError)


class SlotWorker(BaseWorker):
    """Claims runs of all tenants for one engine, as long as there is room."""

    def __init__(self, redis: Redis, plan: WorkerPlan, engine: Engine, room: Room) -> None:
        if RQ_KEY_PREFIX != "rq":
            raise Broken("RQ_KEY_PREFIX is set, but our scripts know RQ's keys by its default, rq")
        # RQ remembers a worker for `worker_ttl` and 60 seconds more.
        super().__init__(
            [],
            name=plan.name,
            connection=redis,
            serializer="json",
            worker_ttl=plan.worker_ttl_s - 60,
        )
        self._plan = plan
        self._engine = engine
        self._room = room
        self._claimer = Claimer(redis, plan)
        self._claimed: list[Claim] = []
        # The last claim left nothing: to wait is to be told sooner, and costs no script.
        self._dry = False
        self._known_queues: set[str] = set()
        self._grace_over = False
        self._suspension_checked_at = 0.0

    # --- claiming ------------------------------------------------------------------------------

    def dequeue_job_and_maintain_ttl(  # type: ignore[override]  # RQ's loop only hands it on
        self,
        timeout: int | None,
        max_idle_time: int | None = None,  # noqa: ARG002 (RQ passes it; we never idle out)
    ) -> tuple[Claim, None] | None:
        """Give one claim; wait for one unless `timeout` is None. None means: stop working."""
        pause_s = 0.5
        while not self._claimed:
            if self._stop_requested or not self._engine.alive:
                return None
            try:
                self._register_again()
                claimed = not (self._dry and self._room.free) and self._claim()
                if not claimed and not self._wait(burst=timeout is None):
                    return None
                pause_s = 0.5
            except RedisError as error:
                _note_absence(error)
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 5.0)
        return self._claimed.pop(), None

    def _claim(self, turn: Turn | None = None) -> bool:
        free = self._room.free
        if free == 0 and turn is None:
            self._room.wait_for_free(_WAIT_S)
            return True
        wanted = min(max(free, 1), MAX_BATCH)
        claims = self._claimer.claim(wanted, turn)
        if claims is None:  # suspended: ask now, or the ring would be emptied and filled in turn
            self._suspension_checked_at = 0.0
            return False
        self._room.take(len(claims))
        self._dry = len(claims) < wanted
        self._claimed = claims  # before anything else can fail: they are ours by now
        self._meet_queues(claims)
        return bool(claims)

    def _wait(self, *, burst: bool) -> bool:
        self._dry = False
        self.check_for_suspension(burst)
        if self._stop_requested:
            return False
        if burst:
            # Runs in hand may leave jobs behind a cap; only an empty ring and room is the end.
            return not self._room.wait_until_empty(_WAIT_S) or bool(self._queued())
        turn = self._claimer.wait(_WAIT_S)
        if turn is None:
            return True
        if self._stop_requested:  # told to stop while it waited: this turn is somebody else's
            self._claimer.give_back(turn)
            return False
        self._claim(turn)
        return True

    def _queued(self) -> int:
        count: Any = self.connection.zcard(keys.RING)
        return int(count)

    def execute_job(self, job: Claim, queue: None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Hand a claim to the engine, and with it all others of the same batch."""
        claims, self._claimed = [job, *self._claimed], []
        self._engine.execute(claims)

    def _meet_queues(self, claims: list[Claim]) -> None:
        """Show up in `rq info` as a worker of the queues that were served, so many of them."""
        new = {claim.queue for claim in claims} - self._known_queues
        if not new or len(self._known_queues) >= _SHOWN_QUEUES:
            return
        self._known_queues |= new
        self.queues += [Queue(name, connection=self.connection, serializer="json") for name in new]
        with self.connection.pipeline(transaction=False) as pipeline:
            for name in new:
                pipeline.sadd(f"rq:workers:{name}", self.key)
            pipeline.hset(self.key, "queues", ",".join(self.queue_names()))
            pipeline.execute()

    def register_birth(self) -> None:
        """Sign on, as soon as Redis takes it."""
        # RQ does so later; whoever sees the worker's record may tell it to go from then on.
        self._install_signal_handlers()
        while not self._stop_requested:
            try:
                # An earlier try may have been done and its answer lost; the name is ours alone.
                self.connection.delete(self.key)
                super().register_birth()  # type: ignore[no-untyped-call]
            except RedisError as error:
                _note_absence(error)
                time.sleep(_WAIT_S)
            else:
                return

    def serialize(self) -> dict[Any, Any]:
        """Give RQ's fields of the worker's record, and how many runs it takes at once."""
        return {**super().serialize(), "slots": self._plan.slots}

    # --- RQ's upkeep, done elsewhere or less often ---------------------------------------------

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Do nothing: the engine's RENEW keeps the worker's record alive, in one round trip."""

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Write only what the CLAIM and FINISH scripts do not: they keep `busy` and `idle`."""
        if state in {WorkerStatus.BUSY, WorkerStatus.IDLE}:
            self._state = state
            return
        try:
            super().set_state(state, pipeline)
        except RedisError as error:  # it is there for people to read
            _note_absence(error)

    def check_for_suspension(self, burst: bool) -> None:  # noqa: FBT001 (RQ's signature)
        """Ask once a second; the CLAIM script refuses while suspended in any case."""
        if time.monotonic() - self._suspension_checked_at < _WAIT_S:
            return
        self._suspension_checked_at = time.monotonic()
        try:
            super().check_for_suspension(burst)
        except RedisError as error:
            _note_absence(error)

    def run_maintenance_tasks(self) -> None:
        """Do nothing: the sweep does it, off this thread and for all queues in one go."""

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Tell RQ's loop that there is nothing to do."""
        return False

    def _register_again(self) -> None:
        if not self._engine.record_lost:
            return
        self.last_heartbeat = now()
        with self.connection.pipeline(transaction=False) as pipeline:
            pipeline.hset(self.key, mapping=self.serialize())
            worker_registration.register(self, pipeline)
            pipeline.expire(self.key, self.worker_ttl + 60)
            pipeline.execute()

    # --- stopping ------------------------------------------------------------------------------

    def _install_signal_handlers(self) -> None:
        if threading.current_thread() is threading.main_thread():
            super()._install_signal_handlers()  # type: ignore[no-untyped-call]

    def request_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop claiming; what is in hand may go on for the grace period. Raises nothing."""
        # RQ raises from here while idle, which would lose the claims of a script on its way back.
        signal.signal(signal.SIGINT, self.request_force_stop)
        signal.signal(signal.SIGTERM, self.request_force_stop)
        self._stop_requested = True

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """End what is in hand now."""
        # No event: its lock would be waited for for ever by a signal that comes while it is set.
        self._grace_over = True

    def teardown(self) -> None:
        """Let the runs in hand end, within the grace period; then sign off."""
        end = time.monotonic() + self._plan.grace_s
        while not self._room.wait_until_empty(_STEP_S) and self._engine.alive:
            if self._grace_over or time.monotonic() >= end:
                break
        self._engine.drain(0)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):  # it goes; only its exit code is left
                signal.signal(number, signal.SIG_IGN)
        try:
            super().teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:  # RQ forgets a silent worker by itself
            _note_absence(error)

    # --- RQ's commands -------------------------------------------------------------------------

    def handle_payload(self, message: Any) -> None:
        """Route `stop-job` to the one run it names; leave the rest to RQ."""
        try:
            payload = parse_payload(message)
            command = payload["command"]
        except (ValueError, KeyError, TypeError):
            structlog.get_logger(__name__).warning("command_unreadable")
            return
        if command == "stop-job":
            self._engine.stop_run(str(payload.get("job_id", "")))
        elif command != "kill-horse":
            handle_command(self, payload)

    def request_stop_execution(self, execution_id: str) -> None:
        """End one execution, as `stop-execution` asks."""
        self._engine.stop_execution(execution_id)


def _note_absence(error: RedisError) -> None:
    """Log that Redis is away or takes no writes; raise what is neither."""
    log = structlog.get_logger(__name__)
    if takes_no_writes(error):
        log.warning("redis_takes_no_writes", error=str(error)[:200])
    elif isinstance(error, _AWAY):
        log.warning("redis_away", error=type(error).__name__)
    else:
        raise error


def enqueue_dependents(redis: Redis, claim: Claim) -> None:
    """Let RQ enqueue the jobs that `depends_on` the one of this claim, which has ended."""
    queue = Queue(claim.queue, connection=redis, serializer="json")
    job = Job.fetch(claim.run_id, connection=redis, serializer="json")
    queue.enqueue_dependents(job)
