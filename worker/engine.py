"""
The executing half of a worker: an event loop in its own thread, one task for each run in hand.

Runs in: worker. Trusts: claims of its own worker. Refuses: to tell Redis of a run whose lease is
lost. May import: integrations, ledger, runs, sandbox (never sandbox.child).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from core import keys
from core.errors import ServiceError
from core.redis_client import connect_async
from core.tasks import end_tasks
from ledger.recording import Recording, TapeTorn, TapeUnreadable
from ledger.redis_tape import RedisTape, scan_tape
from ledger.tape import TapeError
from runs.endings import Ending
from runs.redis_scripts import Arg, load
from runs.rq_job import timestamp
from runs.suspension import Suspension
from sandbox.outcome import Fault, Reason
from worker.claim import Claim, Verdict
from worker.event_writer import EventWriter, Shown
from worker.execute import LOST_TAPE, execute
from worker.grants_of_today import with_grants_of_today
from worker.outbox import (
    DEPENDENTS,
    TO_CANCEL,
    GivenBack,
    LetGo,
    Outbox,
    deliver_ending,
    deliver_refusal,
    deliver_settled,
    deliver_suspension,
)
from worker.slots import Room, Slot, Stop
from worker.surfaces import RedisSurfaces
from worker.sweep import Sweep
from worker.vaulted_accounts import VaultedAccounts
from worker.waiting import may_wait
from worker.witness import Witness

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from integrations.accounts import Accounts, AccountsFile
    from integrations.broker import Broker
    from sandbox.supervisor import Sandbox
    from worker.plan import WorkerPlan

_START_S = 60.0
_LAST_WORDS_S = 10.0
#: Commands are sent once, to whoever listens: a lost one is made up for within this time.
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs are executed with. Made in the engine's thread, closed there."""

    sandbox: Sandbox
    broker: Broker
    accounts: AccountsFile | VaultedAccounts
    close: Callable[[], Coroutine[Any, Any, None]]


class Engine:
    """Executes claims. Made and spoken to by the claiming thread; works in its own."""

    def __init__(
        self,
        plan: WorkerPlan,
        redis_url: str,
        room: Room,
        make_parts: Callable[[], Coroutine[Any, Any, Parts]],
        on_dependents: Callable[[Claim], None],
    ) -> None:
        self._plan = plan
        self._redis_url = redis_url
        self._room = room
        self._make_parts = make_parts
        self._on_dependents = on_dependents
        self._slots: dict[str, Slot] = {}  # by execution
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._record_lost = threading.Event()
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._redis: Redis
        self._outbox: Outbox
        self._parts: Parts
        self._surfaces: RedisSurfaces
        self._witness: Witness
        self._over: asyncio.Event

    # --- called by the claiming thread ---------------------------------------------------------

    def start(self) -> None:
        """
        Start the thread, and the sandbox in it.

        Raises:
            SandboxUnavailable: this host cannot jail a process.
        """
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError(f"the engine did not start within {_START_S} s")
        if self._failure is not None:
            raise self._failure

    def execute(self, claims: Sequence[Claim]) -> None:
        """Execute claims, for which room has been taken."""
        self._loop.call_soon_threadsafe(self._begin, claims)

    def stop_run(self, run_id: str) -> None:
        """End a run because somebody cancelled it; nothing if it is not in hand."""
        self._loop.call_soon_threadsafe(self._end, run_id, Stop.REQUESTED)

    def stop_execution(self, execution: str) -> None:
        """End one execution because somebody asked for it; nothing if it is not in hand."""
        self._loop.call_soon_threadsafe(self._end_execution, execution)

    @property
    def record_lost(self) -> bool:
        """Tell, once, that Redis has forgotten this worker, so that it registers again."""
        lost = self._record_lost.is_set()
        self._record_lost.clear()
        return lost

    @property
    def alive(self) -> bool:
        """Tell whether the engine works."""
        return self._thread.is_alive()

    def drain(self, grace_s: float) -> None:
        """Wait for the runs in hand; end those that take longer than `grace_s` seconds."""
        if self._room.wait_until_empty(grace_s) or not self.alive:
            return
        self._loop.call_soon_threadsafe(self._end_all)
        self._room.wait_until_empty(_LAST_WORDS_S)

    def close(self) -> None:
        """End the thread; whatever is still in hand is left to its lease."""
        if self.alive and self._failure is None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(_LAST_WORDS_S)

    # --- the engine's own thread ---------------------------------------------------------------

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._redis = connect_async(self._redis_url)
        try:
            self._parts = await self._make_parts()
        except BaseException as failure:  # noqa: BLE001 (raised again by start())
            self._failure = failure
            self._ready.set()
            await self._redis.aclose()
            return
        self._outbox = Outbox(self._redis, self._plan.name, self._delivered)
        self._surfaces = RedisSurfaces(self._redis)
        self._witness = Witness(self._redis)
        sweep = Sweep(self._redis, self._plan)
        always = [
            asyncio.create_task(coroutine, name=name)
            for name, coroutine in (
                ("outbox", self._outbox.run()),
                ("beat", self._beat()),
                ("sweep", sweep.run()),
                ("witness", self._witness.run()),
            )
        ]
        self._ready.set()
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait([*always, over], return_when=asyncio.FIRST_COMPLETED)
            for task in always:
                if task.done():
                    task.result()  # none of them ends by itself: this raises
        finally:
            await self._end_everything(sweep, [*always, over])

    async def _end_everything(self, sweep: Sweep, others: Sequence[asyncio.Task[Any]]) -> None:
        await end_tasks(*self._tasks, *others)
        await sweep.leave()
        await self._parts.close()
        await self._redis.aclose()

    def _begin(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            if claim.refusal is not None:
                self._outbox.finish(deliver_refusal(claim, claim.refusal))
            elif claim.verdict is Verdict.SETTLED and claim.settled is not None:
                self._outbox.finish(deliver_settled(claim, claim.settled))
            elif claim.tape_lost:
                self._outbox.finish(deliver_ending(claim, _TAPE_LOST))
            else:
                slot = self._slots[claim.execution] = Slot(claim)
                if claim.cancelled:
                    slot.end(Stop.REQUESTED)
                task = self._loop.create_task(self._execute(slot))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _execute(self, slot: Slot) -> None:
        claim = slot.claim
        send = self._outbox.send
        events = EventWriter(claim.run_id, self._loop.call_later, send)
        delivery: GivenBack
        try:
            if claim.attempt > 1:
                shown = await self._shown(claim)
                events = EventWriter(claim.run_id, self._loop.call_later, send, shown)
            # Written out here, not in the outbox: what breaks on it must not break other runs.
            delivery = self._delivery(slot, await self._ending(slot, events))
        except Exception:  # noqa: BLE001 (whatever broke, the run must end)
            structlog.get_logger(__name__).exception("run_broke", run=claim.run_id)
            delivery = deliver_ending(claim, _BROKEN)
        last_words = events.take()
        if slot.stop is Stop.LEASE_LOST:
            structlog.get_logger(__name__).warning("lease_lost", run=claim.run_id)
            self._delivered(claim, 0)
        else:
            self._outbox.send(last_words)
            self._outbox.finish(delivery)

    def _delivery(self, slot: Slot, ending: Ending | Suspension) -> GivenBack:
        if isinstance(ending, Suspension):
            slot.suspension = ending
            if slot.stop is Stop.REQUESTED:
                return deliver_ending(slot.claim, ending.cancelled())
            return deliver_suspension(slot.claim, ending)
        stopped = slot.stop is Stop.SHUTDOWN and ending.reason is Reason.CANCELLED
        if stopped or ending.resumable:
            fault = not (stopped or ending.put_off)
            return LetGo(slot.claim, fault=fault, at_once=stopped and not ending.resumable)
        return deliver_ending(slot.claim, ending)

    async def _shown(self, claim: Claim) -> Shown:
        try:
            return await Shown.read(self._redis, claim.run_id)
        except (RedisError, OSError):
            return Shown()  # a line that is shown twice is no reason to lose the run

    async def _recording(self, claim: Claim) -> Recording | None:
        """Read what earlier attempts left; nobody can add to it since this attempt has begun."""
        if claim.attempt <= 1:
            return None
        try:
            return await Recording.read(scan_tape(self._redis, claim.run_id))
        except (RedisError, OSError) as lost:
            raise TapeError("Redis did not give the tape of earlier attempts") from lost

    async def _accounts(self, claim: Claim, tenant: str | None) -> Accounts:
        accounts = self._parts.accounts
        if isinstance(accounts, VaultedAccounts):
            return await accounts.for_tenant(tenant, claim.vault)
        return accounts.for_tenant(tenant)

    async def _ending(self, slot: Slot, events: EventWriter) -> Ending | Suspension:
        claim, spec = slot.claim, slot.claim.spec
        assert spec is not None  # noqa: S101 (CLAIM gives one with every run)
        try:
            accounts = await self._accounts(claim, spec.tenant)
            if claim.attempt > 1:
                spec = await with_grants_of_today(self._redis, spec)
        except ServiceError as missing:
            structlog.get_logger(__name__).error(
                "no_accounts", run=claim.run_id, tenant=spec.tenant, error=missing.detail
            )
            fault = Fault("the accounts or grants of this tenant cannot be used; nothing was run")
            away = isinstance(missing.__cause__, RedisError | OSError)
            return Ending(Reason.INTERNAL, error=fault, resumable=away)
        try:
            recording = await self._recording(claim)
            spec, waiting = await may_wait(self._redis, self._plan, spec, recording)
        except TapeError:
            return replace(_UNREADABLE, resumable=True)
        except TapeTorn:
            return _TAPE_LOST
        except (TapeUnreadable, ValueError, KeyError):
            structlog.get_logger(__name__).exception("tape_unreadable", run=claim.run_id)
            return _UNREADABLE
        return await execute(
            spec,
            sandbox=self._parts.sandbox,
            broker=self._parts.broker,
            accounts=accounts,
            tape=RedisTape(
                self._redis,
                claim.run_id,
                claim.next_seq,
                replicas=self._plan.replicas,
                on_written=partial(self._witness.note, claim.run_id),
            ),
            watch=events,
            cancel=slot.cancel,
            recording=recording,
            surfaces=self._surfaces,
            waiting=waiting,
        )

    def _delivered(self, claim: Claim, code: int) -> None:
        slot = self._slots.get(claim.execution)
        if code == TO_CANCEL and slot is not None and slot.suspension is not None:
            self._outbox.finish(deliver_ending(claim, slot.suspension.cancelled()))
            return
        self._slots.pop(claim.execution, None)
        if code == DEPENDENTS:
            self._loop.run_in_executor(None, self._on_dependents, claim)
        self._room.give_back()

    # --- ending runs early ---------------------------------------------------------------------

    def _end(self, run_id: str, why: Stop) -> None:
        for slot in list(self._slots.values()):
            if slot.claim.run_id == run_id:
                slot.end(why)

    def _end_execution(self, execution: str) -> None:
        slot = self._slots.get(execution)
        if slot is not None:
            slot.end(Stop.REQUESTED)

    def _end_all(self) -> None:
        for slot in list(self._slots.values()):
            slot.end(Stop.SHUTDOWN)

    # --- the heartbeat -------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                await self._renew()
            next_s = self._loop.time() + self._plan.beat_s
            while (left_s := next_s - self._loop.time()) > 0:
                await asyncio.sleep(min(left_s, _LOOK_S))
                if await self._somebody_cancelled():
                    break

    async def _somebody_cancelled(self) -> bool:
        """Tell whether a run in hand is to end of which no command has told: that beat is due."""
        held = [keys.cancel(one.claim.run_id) for one in self._slots.values() if one.stop is None]
        try:
            return bool(held) and await self._redis.exists(*held) > 0
        except (RedisError, OSError):
            return False

    async def _renew(self) -> None:
        plan = self._plan
        held = list(self._slots.values())
        args: list[Arg] = [plan.name, plan.worker_ttl_s, plan.lease_s]
        args.append(timestamp(time.time_ns() // 1_000_000))
        for slot in held:
            args += [slot.claim.queue, slot.claim.run_id, slot.claim.execution]
        known, lost, stop = await load("renew").run_async(self._redis, args)
        if not known:
            self._record_lost.set()
        # A run that has just been delivered has no lease either; it is no longer in hand then.
        gone = {key.decode() for key in lost}
        for slot in held:
            if slot.claim.key in gone and slot.claim.execution in self._slots:
                slot.end(Stop.LEASE_LOST)
        for run_id in stop:
            self._end(run_id.decode(), Stop.REQUESTED)


_BROKEN = Ending(Reason.INTERNAL, error=Fault("an error of ours ended the run"))
_TAPE_LOST = Ending(
    Reason.EFFECT_UNKNOWN,
    error=Fault(LOST_TAPE, hint="look at the vendors before you submit it again"),
)
_UNREADABLE = Ending(
    Reason.INTERNAL, error=Fault("the tape of the run's earlier attempts cannot be read")
)


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop  # noqa: PLC0415 (only a worker needs it)

    return uvloop.new_event_loop()
