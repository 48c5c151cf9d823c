"""
Approvals: what runs ask, and what is said to it.

Runs in: api, worker. Trusts: Redis; whoever asks was let in by the API. Refuses: a second, other
answer; an answer that is too late. May import: integrations, ledger, core, redis.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson

from core import keys
from core.clock import now_ms
from core.errors import Conflict, Invalid, NotFound
from core.ids import is_id
from integrations.waits import Answer, Decision
from ledger.leaves import LeafKind, leaf
from runs.model import Approval
from runs.redis_scripts import Arg, load
from runs.rq_job import timestamp

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from integrations.waits import Wait

MAX_COMMENT_CHARS = 2_000
MAX_PAGE = 200
_ANSWER = "a:"
_CURSOR = re.compile(r"([0-9]{1,15})\.(run_[0-9a-z]{26})\.([0-9]{1,9})", re.ASCII)


class ApprovalStore:
    """What runs have asked. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def of_run(self, tenant: str, run_id: str) -> list[Approval]:
        """
        Give all that a run has asked, in its order; nothing was asked before it first waited.

        Raises:
            NotFound: this tenant has no such run.
            RedisError: Redis does not answer.
        """
        if not is_id(run_id, "run"):
            raise _no_run()
        owner = await cast("Awaitable[bytes | None]", self._redis.hget(keys.run(run_id), "tenant"))
        if owner is None or owner.decode() != tenant:
            raise _no_run()
        kept = await self._kept(run_id)
        numbers = sorted(int(name) for name in kept if not name.startswith(_ANSWER))
        return [_read(run_id, kept, n) for n in numbers]

    async def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = MAX_PAGE
    ) -> tuple[list[Approval], str | None]:
        """
        Give what a tenant's runs ask now, the oldest first.

        Args:
            tenant: whose runs.
            cursor: the second value of an earlier page; what was answered meanwhile is left out.
            limit: at most so many; a page may hold fewer and yet have a next one.

        Returns:
            The questions, and the cursor of the next page or None at the end.

        Raises:
            Invalid: a cursor that is none.
            RedisError: Redis does not answer.
        """
        rows = await self._asked_after(tenant, cursor, limit + 1)
        pipeline = self._redis.pipeline(transaction=False)
        for _, run_id, n in rows[:limit]:
            pipeline.hget(keys.approvals(run_id), str(n))
        questions = await pipeline.execute()
        found = [
            _read(run_id, {str(n): question}, n)
            for (_, run_id, n), question in zip(rows, questions, strict=False)
            if question is not None
        ]
        return found, _cursor(rows[limit - 1]) if len(rows) > limit else None

    async def _asked_after(self, tenant: str, cursor: str | None, most: int) -> list[_Asked]:
        """Give the first rows after a cursor, or the first of all."""
        last = _read_cursor(cursor) if cursor is not None else None
        found: list[_Asked] = []
        offset, since = 0, last.asked_ms if last is not None else "-inf"
        while True:
            # From the cursor's time on: its own row may be gone, and others may have the same time.
            rows: Any = await self._redis.zrange(
                keys.asked(tenant),
                since,
                "+inf",
                byscore=True,
                offset=offset,
                num=most,
                withscores=True,
            )
            asked = [_asked(member.decode(), score) for member, score in rows]
            found += [one for one in asked if last is None or _place(one) > _place(last)]
            if len(found) >= most or len(rows) < most:
                return found[:most]
            offset += most

    async def answer(  # noqa: PLR0913 (what is said, of what, by whom: each once)
        self,
        tenant: str,
        run_id: str,
        n: int,
        decision: Decision,
        *,
        by: str,
        comment: str | None = None,
    ) -> Approval:
        """
        Approve or deny; the same answer given again changes nothing.

        Raises:
            NotFound: this tenant's runs have no such question.
            Conflict: it was answered otherwise, it is too late, or the run has ended.
            RedisError: Redis did not confirm; giving the same answer again is right.
        """
        if not is_id(run_id, "run"):
            raise _no_question()
        at_ms = now_ms()
        said = leaf(
            *(LeafKind.APPROVAL_ANSWERED, run_id),
            tenant=tenant,
            at_ms=at_ms,
            call=n,
            decision=decision.value,
            by=by,
        )
        args: list[Arg] = [
            run_id,
            tenant,
            n,
            decision.value,
            comment or "",
            by,
            timestamp(at_ms),
            said,
        ]
        found: Any = await load("answer").run_async(self._redis, args)
        word = found[0].decode()
        if word == "unknown":
            raise _no_question()
        answered = {_ANSWER + str(n): found[2]} if len(found) > 2 else {}
        approval = _read(run_id, {str(n): found[1], **answered}, n)
        if word not in {"taken", "known"}:
            raise _refused(word, approval)
        return approval

    async def answers(self, run_id: str) -> tuple[int, dict[int, Answer]]:
        """
        Give Redis' time, Unix milliseconds, and all answers given to a run up to then.

        Raises:
            RedisError: Redis does not answer.
        """
        # The time first: what is not among the answers was not given before it.
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.time()
        pipeline.hgetall(keys.approvals(run_id))
        (seconds, micros), kept = await pipeline.execute()
        answers = {
            int(name.decode().removeprefix(_ANSWER)): Answer.of(orjson.loads(text))
            for name, text in kept.items()
            if name.decode().startswith(_ANSWER)
        }
        return seconds * 1000 + micros // 1000, answers

    async def _kept(self, run_id: str) -> dict[str, bytes]:
        kept: Any = await cast("Awaitable[Any]", self._redis.hgetall(keys.approvals(run_id)))
        return {name.decode(): text for name, text in kept.items()}


class _Asked(NamedTuple):
    """One row of the index of what is asked."""

    asked_ms: int
    run_id: str
    n: int


def _asked(member: str, score: float) -> _Asked:
    run_id, _, n = member.partition("|")
    return _Asked(int(score), run_id, int(n))


def _place(one: _Asked) -> tuple[int, str]:
    # Redis orders rows of one time by their text.
    return one.asked_ms, f"{one.run_id}|{one.n}"


def _cursor(last: _Asked) -> str:
    return f"{last.asked_ms}.{last.run_id}.{last.n}"


def _read_cursor(text: str) -> _Asked:
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise Invalid("not a cursor of this list", pointer="/cursor")
    return _Asked(int(found[1]), found[2], int(found[3]))


def asked_leaf(run_id: str, tenant: str, wait: Wait) -> bytes:
    """Write for the ledger that a run asks; not what it says, which is a user's text."""
    question = wait.question
    return leaf(
        *(LeafKind.APPROVAL_ASKED, run_id),
        tenant=tenant,
        at_ms=wait.began_ms,
        call=wait.seq,
        function=question.function if question is not None else None,
        until_ms=wait.until_ms,
    )


def _read(run_id: str, kept: Mapping[str, bytes], n: int) -> Approval:
    answer = kept.get(_ANSWER + str(n))
    said = orjson.loads(answer) if answer else {}
    return Approval(**{"run": run_id, "n": n, **orjson.loads(kept[str(n)])}, **said)


def _refused(word: str, approval: Approval) -> Conflict:
    if word == "other":
        return Conflict(
            f"it was answered before: {approval.decision} by {approval.by}",
            hint="an answer cannot be taken back; cancel the run if it must not go on",
        )
    if word == "expired":
        return Conflict("it could be answered until its time was over; nothing was done")
    return Conflict("the run has ended; nothing waits for this answer any more")


def _no_run() -> NotFound:
    return NotFound("there is no run with this id", hint="GET /v1/runs lists your runs")


def _no_question() -> NotFound:
    return NotFound("no run of yours asks this", hint="GET /v1/approvals lists what is open")
