"""Runs in Redis, as the API and the command line see them: submit, get, list, cancel, watch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson
from redis.exceptions import RedisError, ResponseError

from core import keys
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded, Unavailable
from core.ids import is_id, new_id
from core.redis_client import takes_no_writes
from ledger.leaves import accepted_leaf, new_salt
from runs import cancelling
from runs import events as run_events
from runs.accept import Checked, check_request
from runs.model import Priority, RunRecord, RunRequest, State
from runs.record import SUMMARY, WHOLE, kept_grants, to_record
from runs.redis_scripts import Arg, load
from runs.rq_job import job_fields
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet, Whose
from tenancy.tenants import check_tenant

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from runs.events import Event

ID_PREFIX = "run"
MAX_PAGE = 200
_HOUR_S = 3_600
_SCAN = 200  # records looked at in one round trip of `page`
_MAX_SCANNED = 2_000  # ... and in one call; a rare state then takes several pages
_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Terms:
    """
    How long runs are kept, in seconds, and how many a tenant may have.

    `queue_max` counts queued and waiting runs, `index_max` the newest runs that a tenant can list,
    `inbox_max` what the ledger's sequencer may have before it.
    """

    queue_ttl_s: int = 86_400
    result_ttl_s: int = 7 * 86_400
    failure_ttl_s: int = 30 * 86_400
    queue_max: int = 10_000
    index_max: int = 100_000
    inbox_max: int = 100_000


class RunStore:
    """The accepting side's view of runs. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, terms: Terms | None = None) -> None:
        self._redis = redis
        self._terms = terms or Terms()

    async def submit(
        self, tenant: str, request: RunRequest, *, key_id: str, run_id: str | None = None
    ) -> RunRecord:
        """
        Accept a run: record, tape, job and place in the queue, all or nothing.

        With a `run_id` of the caller's, submitting again gives the run that is there.

        Raises:
            Invalid: something in the request is malformed; it carries the JSON pointer.
            TooLarge: the script or the input has too many bytes.
            QuotaExceeded: too many runs of this tenant are queued.
            Unavailable: Redis did not confirm; the run may have been accepted all the same. Or
                the ledger is too far behind, and nothing was.
        """
        return await self.submit_checked(
            tenant, check_request(request), key_id=key_id, run_id=run_id
        )

    async def submit_checked(
        self, tenant: str, checked: Checked, *, key_id: str, run_id: str | None = None
    ) -> RunRecord:
        """
        Accept a run as `submit` does; checking a large input takes long, and may be done elsewhere.

        Raises:
            QuotaExceeded, Unavailable: as `submit`.
            Conflict: the plan to be applied is not approved, or was applied already.
        """
        check_tenant(tenant)
        run_id = run_id or new_id(ID_PREFIX)
        if not is_id(run_id, ID_PREFIX):
            raise Invalid("a run id is `run_` and 26 characters of base 32")
        ceiling = await GrantStore(self._redis).ceiling(tenant, key_id)
        record = _new_record(run_id, tenant, checked, ceiling, _now_ms())
        with redis_errors(f"the run {run_id} may or may not have been accepted"):
            accepted = await load("enqueue").run_async(
                self._redis, self._enqueue_args(record, checked, key_id)
            )
        if accepted == 0:
            return await self.get(tenant, run_id)
        if accepted in {-3, -4}:
            raise Conflict(_NOT_APPLIED[accepted], hint="`GET /v1/runs/{id}/plan` shows its state")
        if accepted == -2:
            raise Unavailable(
                f"{self._terms.inbox_max} entries wait for the ledger's sequencer already;"
                " nothing was accepted",
                hint="is `moonsand sequencer` running? try again when it has caught up",
            )
        if accepted < 0:
            raise QuotaExceeded(
                f"{self._terms.queue_max} runs are queued or wait already; no more are taken",
                retry_after_s=_RETRY_AFTER_S,
                hint="wait until some have ended, or cancel some",
            )
        return record

    async def get(self, tenant: str, run_id: str, *, raw_result: bool = False) -> RunRecord:
        """
        Give one run, whole; with `raw_result` its `result` is the JSON text, for orjson to splice.

        Raises:
            NotFound: this tenant has no such run, or no longer.
            Unavailable: Redis does not answer.
        """
        values = await self._fields(run_id, WHOLE)
        if values[0] is None or values[0].decode() != tenant:
            raise _not_found()
        return to_record(run_id, WHOLE, values, raw_result=raw_result)

    async def page(
        self,
        tenant: str,
        *,
        state: State | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[list[RunRecord], str | None]:
        """
        List runs, newest first, without their `result`, `output` and `calls`.

        Args:
            tenant: whose runs.
            state: only those in this state now.
            cursor: the second value of an earlier page.
            limit: 1 to `MAX_PAGE` runs. A page may hold fewer and yet have a next one.

        Returns:
            The runs, and the cursor of the next page or None at the end.

        Raises:
            Invalid: a cursor that is none, or a limit out of range.
            Unavailable: Redis does not answer.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise Invalid(f"limit must be 1 to {MAX_PAGE}, not {limit}", pointer="/limit")
        if cursor is not None and not is_id(cursor, ID_PREFIX):
            raise Invalid("not a cursor of this list", pointer="/cursor")
        found: list[RunRecord] = []
        with redis_errors():
            for _ in range(_MAX_SCANNED // _SCAN):
                ids = await self._older_than(tenant, cursor)
                for record in await self._summaries(tenant, ids):
                    if len(found) == limit:
                        return found, found[-1].id
                    if state is None or record.status is state:
                        found.append(record)
                if len(ids) < _SCAN:
                    return found, None
                cursor = ids[-1]
        return found, cursor

    async def cancel(self, tenant: str, run_id: str) -> RunRecord:
        """
        End a queued or waiting run at once; ask the worker of a running one, within a second.

        A run that has ended stays as it is. Gives the run as it is after that.

        Raises:
            NotFound: this tenant has no such run.
            Unavailable: Redis did not confirm.
        """
        if not is_id(run_id, ID_PREFIX):
            raise _not_found()
        with redis_errors("the run may or may not have been cancelled"):
            found = await cancelling.cancel(self._redis, tenant, run_id)
        if found is None:
            raise _not_found()
        return await self.get(tenant, run_id)

    async def events(self, tenant: str, run_id: str, after: str = "0-0") -> AsyncIterator[Event]:
        """
        Give what happens in a run as it happens, from the event after `after` to its end.

        Raises:
            NotFound: this tenant has no such run.
            Invalid: `after` is no event id.
            Unavailable: Redis does not answer.
        """
        (owner,) = await self._fields(run_id, ("tenant",))
        if owner is None or owner.decode() != tenant:
            raise _not_found()
        with redis_errors():
            async for event in run_events.follow(self._redis, run_id, after):
                yield event

    # --- parts ---------------------------------------------------------------------------------

    def _enqueue_args(self, record: RunRecord, checked: Checked, key_id: str) -> list[Arg]:
        terms = self._terms
        keep_s = terms.queue_ttl_s + _HOUR_S + max(terms.result_ttl_s, terms.failure_ttl_s)
        queue = keys.queue(record.tenant, record.priority)
        kept = _hash_fields(record, checked, key_id, terms)
        accepted = _accepted_body(record, checked, key_id)
        return [
            *(record.id, record.tenant, record.created_ms, queue),
            *(terms.queue_max, keep_s, terms.queue_ttl_s),
            *(record.script_sha256, checked.script, orjson.dumps(accepted)),
            *(terms.index_max, terms.inbox_max),
            accepted_leaf(record.id, record.created_ms, accepted),
            *(len(kept), *kept),
            *job_fields(
                record.id,
                queue,
                now_ms=record.created_ms,
                wall_ms=checked.limits.wall_ms,
                queue_ttl_s=terms.queue_ttl_s,
                result_ttl_s=terms.result_ttl_s,
                failure_ttl_s=terms.failure_ttl_s,
            ),
        ]

    async def _fields(self, run_id: str, fields: tuple[str, ...]) -> list[bytes | None]:
        if not is_id(run_id, ID_PREFIX):
            raise _not_found()
        with redis_errors():
            return await cast(
                "Awaitable[list[bytes | None]]",
                self._redis.hmget(keys.run(run_id), list(fields)),
            )

    async def _older_than(self, tenant: str, cursor: str | None) -> list[str]:
        args: list[Arg] = [tenant, cursor or "", _SCAN]
        ids: Any = await load("older").run_async(self._redis, args)
        return [one.decode() for one in ids]

    async def _summaries(self, tenant: str, ids: list[str]) -> list[RunRecord]:
        pipeline = self._redis.pipeline(transaction=False)
        for run_id in ids:
            pipeline.hmget(keys.run(run_id), list(SUMMARY))
        rows = await pipeline.execute()
        # The index outlives a record that has expired.
        return [
            to_record(run_id, SUMMARY, row)
            for run_id, row in zip(ids, rows, strict=True)
            if row[0] is not None and row[0].decode() == tenant
        ]


_NOT_APPLIED = {
    -3: "the plan is not approved, or no longer kept; nothing was accepted",
    -4: "the plan was applied already, and is applied once; nothing was accepted",
}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _not_found() -> NotFound:
    return NotFound("no such run", hint="is the id right, and is it your tenant's run?")


def _new_record(
    run_id: str, tenant: str, checked: Checked, ceiling: Mapping[Whose, GrantSet], now_ms: int
) -> RunRecord:
    return RunRecord(
        id=run_id,
        status=State.QUEUED,
        tenant=tenant,
        name=checked.name,
        script_sha256=hashlib.sha256(checked.script).hexdigest(),
        limits=checked.limits.to_json(),
        grants=checked.grants,
        ceiling={whose.value: rules.to_json() for whose, rules in ceiling.items()} or None,
        force=checked.force,
        seed=checked.seed,
        mode=checked.mode,
        plan=checked.approved.plan if checked.approved else None,
        created_ms=now_ms,
        origin=checked.origin,
        script_ref=checked.script_ref,
        priority=checked.priority,
    )


def _hash_fields(record: RunRecord, checked: Checked, key_id: str, terms: Terms) -> list[Arg]:
    fields: dict[str, Arg] = {
        "tenant": record.tenant,
        "name": record.name,
        "script_sha256": record.script_sha256,
        "input": checked.input,
        "limits": orjson.dumps(record.limits),
        "grants": orjson.dumps(kept_grants(record)),
        "seed": record.seed,
        "on_unknown": checked.on_unknown,
        "mode": checked.mode.value,
        "key_id": key_id,
        "state": State.QUEUED.value,
        "attempt": 0,
        "created_ms": record.created_ms,
        "result_ttl_s": terms.result_ttl_s,
        "failure_ttl_s": terms.failure_ttl_s,
    }
    if checked.approved is not None:
        approved = checked.approved
        fields |= {"plan": approved.plan.text(), "plan_run": approved.run}
        fields["plan_key"] = approved.key
    if checked.origin is not None:
        fields |= {"origin": checked.origin.kind.value, "origin_id": checked.origin.id}
    if checked.script_ref is not None:
        fields["script_ref"] = checked.script_ref
    if checked.priority is not Priority.NORMAL:
        fields["priority"] = checked.priority.value
    return [part for pair in fields.items() for part in pair]


def _accepted_body(record: RunRecord, checked: Checked, key_id: str) -> dict[str, Any]:
    approved = checked.approved
    plan = {"run": approved.run, "sha256": approved.plan.digest} if approved else None
    return {
        "tenant": record.tenant,
        "name": record.name,
        "script_sha256": record.script_sha256,
        "input_sha256": hashlib.sha256(checked.input).hexdigest(),
        "limits": record.limits,
        "grants": kept_grants(record),
        "seed": record.seed,
        "on_unknown": checked.on_unknown,
        "mode": checked.mode.value,
        **({} if plan is None else {"plan": plan}),
        **({} if checked.origin is None else {"origin": checked.origin.to_json()}),
        "key_id": key_id,
        "salt": new_salt(),
    }


@contextmanager
def redis_errors(doubt: str = "") -> Iterator[None]:
    """Turn what Redis did not do into `Unavailable`; `doubt` says what may have happened."""
    try:
        yield
    except RedisError as error:
        if takes_no_writes(error):
            raise Unavailable(
                "Redis takes no writes at the moment; nothing was done", hint="try again later"
            ) from error
        if isinstance(error, ResponseError):
            raise
        detail = f"Redis does not answer; {doubt}" if doubt else "Redis does not answer"
        raise Unavailable(detail, hint="try again") from error
