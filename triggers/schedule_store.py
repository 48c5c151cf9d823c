"""
Schedules in Redis: made, changed, shown, deleted. Firing them is `triggers.firing`.

Runs in: api, CLI. Trusts: Redis, also for the time: schedulers and API processes have one clock.
Refuses: what could not be started now; more schedules or more frequent ones than a tenant may have.
May import: stdlib, orjson, redis, core, ledger, runs, tenancy, triggers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded, TooLarge
from core.ids import is_id, new_id
from ledger.leaves import LeafKind, leaf
from runs.model import RunRequest
from runs.redis_scripts import Arg, load
from runs.store import redis_errors
from tenancy.grant_store import GrantStore
from tenancy.grants import Whose
from tenancy.key_record import KeyRecord
from tenancy.tenants import check_tenant
from triggers.schedule_record import (
    FIELDS,
    Kept,
    Maker,
    RedisClock,
    of_fields,
    redis_clock,
    spec_of,
)
from triggers.schedules import (
    ID_PREFIX,
    MAX_INPUT_BYTES,
    Fire,
    Schedule,
    ScheduleChange,
    ScheduleDraft,
    ScheduleState,
)
from triggers.scripts import SavedScripts
from triggers.starting import look_up
from triggers.timing import Jitter, fires_per_minute

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_SCHEDULES = 1_000  # of a tenant
MAX_FIRES_PER_MINUTE = 6_000  # of all schedules of a tenant, where they fire most often
MAX_PAGE = 100
_HOUR_S = 3_600
_ATTEMPTS = 5


class ScheduleStore:
    """The schedules of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, clock: RedisClock | None = None) -> None:
        self._redis = redis
        self._clock = clock or (lambda: redis_clock(redis))

    async def create(
        self, key: KeyRecord, draft: ScheduleDraft, *, schedule_id: str | None = None
    ) -> Schedule:
        """
        Make a schedule of the key's tenant; its runs will have what this key may call then.

        Raises:
            Invalid, TooLarge: the draft cannot be started, or never fires; with the pointer.
            QuotaExceeded: there are `MAX_SCHEDULES`, or all together fire too often.
            Unavailable: Redis did not confirm; it may have been made all the same.
        """
        check_tenant(key.tenant)
        await self._check(key.tenant, draft)
        now_ms = await self._clock()
        kept = Kept(
            id=schedule_id or new_id(ID_PREFIX, now_ms=now_ms),
            tenant=key.tenant,
            draft=draft,
            anchor_ms=now_ms,
            created_ms=now_ms,
            updated_ms=now_ms,
            key_id=key.id,
            key_tenant=key.owner,
            maker_grants=(await self._maker(key)).grants,
        )
        timing = draft.timing(now_ms)
        if not await self._put(kept, timing.next_after(now_ms), now_ms):
            raise Conflict("the schedule was changed by another at the same moment")
        return await self.get(key.tenant, kept.id)

    async def get(self, tenant: str, schedule_id: str) -> Schedule:
        """
        Give one schedule.

        Raises:
            NotFound: the tenant has no such schedule. Unavailable: Redis does not answer.
        """
        return (await self._kept(tenant, schedule_id))[0]

    async def page(
        self, tenant: str, *, cursor: str | None, limit: int
    ) -> tuple[list[Schedule], str | None]:
        """
        List schedules, newest first, those made before the one that `cursor` names.

        Raises:
            Invalid: `cursor` is no id. Unavailable: Redis does not answer.
        """
        if cursor is not None and not is_id(cursor, ID_PREFIX):
            raise Invalid("not a cursor of this list", pointer="/cursor")
        with redis_errors():
            ids: Any = await self._redis.zrange(keys.schedules(tenant), 0, -1, desc=True)
        # Ids begin with their time, so that they stand in the order of the index.
        known = sorted((one.decode() for one in ids), reverse=True)
        left = [one for one in known if cursor is None or one < cursor]
        shown = left[:limit]
        found = await self._read(tenant, shown)
        return [one for one, _ in found], shown[-1] if len(left) > limit else None

    async def change(self, key: KeyRecord, schedule_id: str, change: ScheduleChange) -> Schedule:
        """
        Change a schedule; from now on it is `key`'s: its runs have what this key may call.

        Resumed, it goes on with its next fire from now; those while it was paused were none.

        Raises:
            NotFound, Invalid, TooLarge, QuotaExceeded, Unavailable: as `create` and `get`.
            Conflict: it has nothing left to fire, or others change it again and again.
        """
        for _ in range(_ATTEMPTS):
            shown, kept = await self._kept(key.tenant, schedule_id)
            draft = change.applied_to(shown.as_draft)
            await self._check(key.tenant, draft)
            now_ms = await self._clock()
            anchor_ms = now_ms if change.retimed else kept.anchor_ms
            timing = draft.timing(now_ms) if change.retimed else kept.timing()
            state = _state_after(shown, change)
            next_ms = shown.next_fire_ms
            if change.retimed or (state is ScheduleState.ACTIVE and next_ms is None):
                next_ms = timing.next_after(now_ms)
            if next_ms is None and state is ScheduleState.ACTIVE:
                raise Conflict("nothing is left to fire", hint="give `at`, `every_s` or `cron`")
            changed = kept.with_draft(draft, anchor_ms, now_ms, await self._maker(key), state)
            active = state is ScheduleState.ACTIVE
            was_ms = shown.next_fire_ms
            if await self._put(changed, next_ms if active else None, now_ms, was_ms):
                return await self.get(key.tenant, schedule_id)
        raise Conflict("others change this schedule at the same time", hint="try again")

    async def delete(self, key: KeyRecord, schedule_id: str) -> None:
        """
        Delete a schedule; runs that it has started go on.

        Raises:
            NotFound: there is none. Unavailable: Redis did not confirm.
        """
        _check_id(schedule_id)
        now_ms = await self._clock()
        told = _leaf(key.tenant, schedule_id, "deleted", key.id, now_ms)
        with redis_errors("the schedule may or may not have been deleted"):
            done = await load("schedule_delete").run_async(
                self._redis, [key.tenant, schedule_id, told]
            )
        if not done:
            raise _not_found()

    async def history(self, tenant: str, schedule_id: str, *, limit: int) -> list[Fire]:
        """
        Give what came of the last fires, newest first; at most 200 are kept.

        Raises:
            NotFound: there is no such schedule. Unavailable: Redis does not answer.
        """
        await self.get(tenant, schedule_id)
        with redis_errors():
            rows = await cast(
                "Awaitable[list[bytes]]",
                self._redis.lrange(keys.schedule_history(schedule_id), 0, limit - 1),
            )
        return [Fire.model_validate_json(row) for row in rows]

    # --- parts ----------------------------------------------------------------------------------

    async def _check(self, tenant: str, draft: ScheduleDraft) -> None:
        if not (draft.name.isprintable() or not draft.name):
            raise Invalid("it must be printable characters", pointer="/name")
        size = len(orjson.dumps(draft.input))
        if size > MAX_INPUT_BYTES:
            raise TooLarge(
                f"the input has {size} bytes as JSON; at most {MAX_INPUT_BYTES} are allowed in a "
                "schedule"
            )
        await look_up(SavedScripts(self._redis), tenant, request_of(draft))

    async def _maker(self, key: KeyRecord) -> Maker:
        rules = (await GrantStore(self._redis).ceiling(key.tenant, key.id)).get(Whose.KEY)
        return Maker(key, None if rules is None else rules.to_json())

    async def _put(
        self, kept: Kept, next_ms: int | None, now_ms: int, was_ms: int | None = None
    ) -> bool:
        rate = fires_per_minute(kept.timing(), now_ms)
        jitter = Jitter(kept.id, kept.draft.jitter_s * 1000)
        what = "changed" if kept.rev else "created"
        args: list[Arg] = [
            *(kept.tenant, kept.id, kept.rev, now_ms),
            *("" if next_ms is None else next_ms, 0 if next_ms is None else jitter.due_ms(next_ms)),
            *(rate, MAX_SCHEDULES, MAX_FIRES_PER_MINUTE, "" if was_ms is None else was_ms),
            _leaf(kept.tenant, kept.id, what, kept.key_id, now_ms),
            *spec_of(kept),
        ]
        with redis_errors("the schedule may or may not have been kept"):
            answer = await load("schedule_put").run_async(self._redis, args)
        if answer == -1:
            raise QuotaExceeded(
                f"there are {MAX_SCHEDULES} schedules, which is all that is allowed",
                retry_after_s=_HOUR_S,
                hint="delete some that have nothing left to fire",
            )
        if answer == -2:
            raise QuotaExceeded(
                f"this one would fire {rate} times a minute, and all schedules together more than "
                f"{MAX_FIRES_PER_MINUTE} times",
                retry_after_s=_HOUR_S,
                hint="let some fire less often, or delete them; those that are paused count too",
            )
        return bool(answer)

    async def _kept(self, tenant: str, schedule_id: str) -> tuple[Schedule, Kept]:
        _check_id(schedule_id)
        found = await self._read(tenant, [schedule_id])
        if not found:
            raise _not_found()
        return found[0]

    async def _read(self, tenant: str, ids: list[str]) -> list[tuple[Schedule, Kept]]:
        pipe = self._redis.pipeline(transaction=False)
        for one in ids:
            pipe.hmget(keys.schedule(one), list(FIELDS))
            pipe.llen(keys.schedule_waiting(one))
        with redis_errors():
            rows = await pipe.execute()
        both = zip(ids, rows[::2], rows[1::2], strict=True)
        found = [(one, dict(zip(FIELDS, row, strict=True)), waiting) for one, row, waiting in both]
        return [
            of_fields(one, _known(row), waiting)
            for one, row, waiting in found
            if row["tenant"] is not None and row["tenant"].decode() == tenant
        ]


def request_of(draft: ScheduleDraft) -> RunRequest:
    """Give what each fire asks for."""
    return RunRequest(script_ref=draft.script_ref, input=draft.input, **asked_by(draft))


def asked_by(draft: ScheduleDraft) -> dict[str, Any]:
    """Give what each fire asks for beside script and input."""
    return {
        "limits": draft.limits,
        "grants": draft.grants,
        "priority": draft.priority,
        "callback": draft.callback,
    }


def _known(row: Mapping[str, bytes | None]) -> dict[str, bytes]:
    return {name: value for name, value in row.items() if value is not None}


def _state_after(shown: Schedule, change: ScheduleChange) -> ScheduleState:
    if change.state is not None:
        return ScheduleState(change.state)
    if shown.state is ScheduleState.DONE and change.retimed:
        return ScheduleState.ACTIVE
    return shown.state


def _leaf(tenant: str, schedule_id: str, change: str, by: str, at_ms: int) -> bytes:
    facts = {"by": by, "change": change}
    return leaf(LeafKind.SCHEDULE_CHANGED, schedule_id, tenant=tenant, at_ms=at_ms, **facts)


def _check_id(schedule_id: str) -> None:
    if not is_id(schedule_id, ID_PREFIX):
        raise _not_found()


def _not_found() -> NotFound:
    return NotFound("there is no schedule with this id", hint="GET /v1/schedules lists yours")
