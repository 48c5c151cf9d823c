"""Runs in Redis, as the API and the command line see them: submit, get, list, cancel, watch."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError, ResponseError

from core import keys
from core.errors import Invalid, NotFound, Unavailable
from core.ids import is_id, new_id
from core.redis_client import takes_no_writes
from runs import cancelling, ceilings, quotas
from runs import events as run_events
from runs.accept import Checked, check_request
from runs.acceptance import Acceptance, Accepted, Terms, acceptance_of
from runs.model import RunRecord, RunRequest, State
from runs.record import SUMMARY, WHOLE, to_record
from runs.redis_scripts import Arg, load
from tenancy.grant_store import ceiling_of
from tenancy.tenants import check_tenant

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from runs.events import Event

ID_PREFIX = "run"
MAX_PAGE = 200
_SCAN = 200  # records looked at in one round trip of `page`
_TRIES = 4  # ceilings and grants may be changed while a run is made ready
_MAX_REMEMBERED = 4_096
_MAX_SCANNED = 2_000  # ... and in one call; a rare state then takes several pages


class RunStore:
    """The accepting side's view of runs. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, terms: Terms | None = None) -> None:
        self._redis = redis
        self._terms = terms or Terms()
        # What was kept of grants when a key submitted last: ENQUEUE says when it is no more.
        self._grants: dict[tuple[str, str], tuple[bytes, bytes]] = {}

    async def submit(
        self, tenant: str, request: RunRequest, *, key_id: str, run_id: str | None = None
    ) -> RunRecord:
        """
        Accept a run: record, tape, job and place in the queue, all or nothing.

        With a `run_id` of the caller's, submitting again gives the run that is there.

        Raises:
            Invalid: something in the request is malformed; it carries the JSON pointer.
            TooLarge: the script or the input has too many bytes.
            QuotaExceeded: a quota of the tenant or the key is used up; it names it.
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
            Forbidden: the tenant is suspended.
            Conflict: the plan to be applied is not approved, or was applied already.
        """
        return (await self.accept(tenant, checked, key_id=key_id, run_id=run_id)).record

    async def accept(
        self, tenant: str, checked: Checked, *, key_id: str, run_id: str | None = None
    ) -> Accepted:
        """Accept a run as `submit_checked` does, and tell in which quotas it was counted."""
        check_tenant(tenant)
        run_id = run_id or new_id(ID_PREFIX)
        if not is_id(run_id, ID_PREFIX):
            raise Invalid("a run id is `run_` and 26 characters of base 32")
        grants = self._grants.get((tenant, key_id), (b"", b""))
        with redis_errors(f"the run {run_id} may or may not have been accepted"):
            for _ in range(_TRIES):
                made = acceptance_of(
                    run_id,
                    tenant,
                    checked,
                    ceiling=ceiling_of(grants),
                    key_id=key_id,
                    terms=self._terms,
                    now_ms=_now_ms(),
                )
                args = self._enqueue_args(made, checked, grants)
                answer = await load("enqueue").run_async(self._redis, args)
                if answer[0] == b"grants":
                    grants = answer[1], answer[2]
                    self._remember(tenant, key_id, grants)
                    continue
                if answer[0] != b"ceiling":
                    break
                # Most tenants have no ceilings, and nobody asks for them in vain.
                most = await ceilings.ceilings_of(self._redis, tenant, key_id)
                checked = ceilings.bounded(checked, most)
        rates = quotas.read_answer(answer)
        if rates is None:
            return Accepted(await self.get(tenant, run_id), known=True)
        return Accepted(made.record, rates=rates)

    def _remember(self, tenant: str, key_id: str, grants: tuple[bytes, bytes]) -> None:
        if len(self._grants) >= _MAX_REMEMBERED:
            self._grants.clear()
        self._grants[tenant, key_id] = grants

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

    def _enqueue_args(
        self, made: Acceptance, checked: Checked, grants: tuple[bytes, bytes]
    ) -> list[Arg]:
        terms, record = self._terms, made.record
        return [
            *(record.id, record.tenant, record.created_ms, made.queue),
            *(terms.queue_max, terms.keep_s, terms.queue_ttl_s),
            *(record.script_sha256, checked.script, made.accepted),
            *(terms.index_max, terms.inbox_max, made.leaf, *grants),
            *(len(made.kept), *made.kept),
            *made.job,
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _not_found() -> NotFound:
    return NotFound("no such run", hint="is the id right, and is it your tenant's run?")


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
