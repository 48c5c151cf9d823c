"""Plans in Redis: shown, approved once, applied once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from core.clock import Clock, now_ms
from core.errors import Conflict, Invalid, NotFound
from core.ids import is_id
from core.plans import Mode, Plan
from ledger.leaves import LeafKind, commit, leaf, new_salt
from runs.accept import Approved, Checked
from runs.model import Priority, RunRecord, State
from runs.redis_scripts import load
from runs.store import ID_PREFIX, RunStore, redis_errors
from sandbox.limits import Limits

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_COMMENT_CHARS = 1_000
MAX_KEY_CHARS = 128
_FIELDS = ("tenant", "name", "mode", "state", "plan", "plan_approved", "plan_applied")
_TERMS = ("plan_applied_key", "script_sha256", "input")
_MAKE_NEW = "make a new plan, with `mode` `plan`"


@dataclass(frozen=True, slots=True)
class Approval:
    """Who approved a plan: the id of an API key, and when, in Unix milliseconds."""

    by: str
    at_ms: int
    comment: str | None

    def to_json(self) -> dict[str, Any]:
        """Give it as it is shown."""
        return {"by": self.by, "at_ms": self.at_ms, "comment": self.comment}


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """The plan of a run, who approved it, and the run that applied it, if there is one."""

    run: str
    plan: Plan
    approval: Approval | None
    applied_by: str | None

    @property
    def state(self) -> str:
        """Give `pending`, `approved` or `applied`."""
        if self.applied_by is not None:
            return "applied"
        return "pending" if self.approval is None else "approved"

    def to_json(self) -> dict[str, Any]:
        """Give it as it is shown."""
        return {
            "run": self.run,
            "state": self.state,
            "approval": self.approval.to_json() if self.approval else None,
            "applied_by": self.applied_by,
            "plan": self.plan.model_dump(mode="json", by_alias=True),
        }


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """
    What a client asks for: the plan of run `run`, with `digest` if it is given, to be applied.

    `script` and `input`, as UTF-8 bytes, must be those of the plan if they are given. The same
    `key` again gives the run that it started.
    """

    run: str
    digest: str | None = None
    key: str = ""
    script: bytes | None = None
    input: bytes | None = None
    priority: Priority = Priority.NORMAL
    expires_ms: int | None = None


class Plans:
    """The plans of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, store: RunStore, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._store = store
        self._clock = clock

    async def get(self, tenant: str, run_id: str) -> KeptPlan:
        """
        Give the plan that a run made.

        Raises:
            NotFound: this tenant has no such run.
            Conflict: it made no plan, or not yet; or what is kept is not what its digest says.
            Unavailable: Redis does not answer.
        """
        return (await self._read(tenant, run_id))[0]

    async def approve(
        self, tenant: str, run_id: str, *, digest: str, comment: str | None, key_id: str
    ) -> KeptPlan:
        """
        Approve the plan with this digest. The ledger is told in the same step.

        Raises:
            NotFound, Conflict, Unavailable: as `get`.
            Invalid: the comment is too long.
            Conflict: the plan has another digest, was approved before, or its run did not succeed.
        """
        if comment is not None and len(comment) > MAX_COMMENT_CHARS:
            raise Invalid(f"it has more than {MAX_COMMENT_CHARS} characters", pointer="/comment")
        kept, state, _ = await self._read(tenant, run_id)
        if digest != kept.plan.digest:
            raise _other_digest()
        if state is not State.SUCCEEDED:
            raise Conflict(f"the run that planned is {state}: what it planned is not whole")
        salt, at_ms = new_salt(), self._clock()
        approval = {"by": key_id, "at_ms": at_ms, "comment": comment, "salt": salt}
        facts = {"by": key_id, "writes": len(kept.plan.writes)}
        facts["plan"] = commit(salt, "plan", digest)
        told = leaf(LeafKind.PLAN_APPROVED, run_id, tenant=tenant, at_ms=at_ms, **facts)
        with redis_errors("the plan may or may not have been approved"):
            answer = await load("approve_plan").run_async(
                self._redis, [run_id, tenant, digest, orjson.dumps(approval), told]
            )
        if answer == 0:
            raise _not_found()
        if answer == -3:
            raise Conflict("the plan was approved already; a plan is approved once")
        if answer != 1:
            raise _other_digest()
        return await self.get(tenant, run_id)

    async def apply(
        self, tenant: str, asked: ApplyRequest, *, key_id: str, run_id: str | None = None
    ) -> RunRecord:
        """
        Accept the run that applies a plan: same script, input, seed, limits and own grants.

        What it may call is asked anew: grants that its tenant or key lost since are lost.

        Raises:
            NotFound, Unavailable: as `get`.
            Conflict: it is not approved, was applied already, or has another digest, script or
                input.
            QuotaExceeded: too many runs of this tenant are queued.
        """
        kept, _, terms = await self._read(tenant, asked.run)
        if asked.digest is not None and asked.digest != kept.plan.digest:
            raise _other_digest()
        if kept.approval is None:
            raise Conflict(
                "the plan is not approved", hint="`POST /v1/runs/{id}/plan/approve` approves it"
            )
        if kept.applied_by is not None:
            return await self._applied_before(tenant, kept.applied_by, asked, terms)
        checked = await self._checked(kept, asked, terms)
        try:
            return await self._store.submit_checked(tenant, checked, key_id=key_id, run_id=run_id)
        except Conflict:
            # Somebody was faster: perhaps the same client, who did not wait for the answer.
            kept, _, terms = await self._read(tenant, asked.run)
            if kept.applied_by is None:
                raise
            return await self._applied_before(tenant, kept.applied_by, asked, terms)

    async def needs_force(self, tenant: str, run_id: str) -> bool:
        """Tell whether the plan of a run was made with `force`. Raises as `get`."""
        return (await self.get(tenant, run_id)).plan.terms.force

    # --- parts ----------------------------------------------------------------------------------

    async def _read(self, tenant: str, run_id: str) -> tuple[KeptPlan, State, dict[str, bytes]]:
        if not is_id(run_id, ID_PREFIX):
            raise _not_found()
        names = (*_FIELDS, *_TERMS)
        with redis_errors():
            values = await cast(
                "Awaitable[list[bytes | None]]", self._redis.hmget(keys.run(run_id), list(names))
            )
        known = {name: one for name, one in zip(names, values, strict=True) if one is not None}
        if known.get("tenant", b"").decode() != tenant or not tenant:
            raise _not_found()
        state = State(known["state"].decode())
        if known.get("mode") != Mode.PLAN.value.encode():
            raise Conflict("this run was not to plan; it has no plan", hint=_MAKE_NEW)
        if "plan" not in known:
            raise Conflict(f"the run is {state}; it has no plan{'' if state.terminal else ' yet'}")
        approval, applied = known.get("plan_approved"), known.get("plan_applied")
        kept = KeptPlan(
            run=run_id,
            plan=Plan.read(known["plan"]),
            approval=_approval(approval) if approval else None,
            applied_by=applied.decode() if applied else None,
        )
        return kept, state, known

    async def _checked(
        self, kept: KeptPlan, asked: ApplyRequest, known: dict[str, bytes]
    ) -> Checked:
        terms = kept.plan.terms
        with redis_errors():
            script = await cast(
                "Awaitable[bytes | None]", self._redis.get(keys.script(terms.script_sha256))
            )
        data = known.get("input")
        for name, own, given, digest in (
            ("script", script, asked.script, terms.script_sha256),
            ("input", data, asked.input, terms.input_sha256),
        ):
            if own is None or hashlib.sha256(own).hexdigest() != digest:
                raise Conflict(f"the {name} of the plan is no longer kept", hint=_MAKE_NEW)
            if given is not None and given != own:
                raise Conflict(f"this is not the {name} that the plan was made of", hint=_MAKE_NEW)
        assert script is not None  # noqa: S101 (seen above)
        assert data is not None  # noqa: S101
        return Checked(
            script=script,
            input=data,
            limits=Limits.from_json(terms.limits),
            grants=terms.grants,
            force=terms.force,
            on_unknown="raise" if terms.on_unknown == "raise" else "fail",
            seed=terms.seed,
            name=known["name"].decode(),
            mode=Mode.APPLY,
            approved=Approved(kept.run, kept.plan, asked.key),
            asked=frozenset(terms.limits),
            priority=asked.priority,
            expires_ms=asked.expires_ms,
        )

    async def _applied_before(
        self, tenant: str, run_id: str, asked: ApplyRequest, known: dict[str, bytes]
    ) -> RunRecord:
        key = known.get("plan_applied_key", b"").decode()
        if asked.key and asked.key == key:
            return await self._store.get(tenant, run_id)
        raise Conflict(f"the plan was applied already, by {run_id}; a plan is applied once")


def _approval(text: bytes) -> Approval:
    given = orjson.loads(text)
    return Approval(given["by"], given["at_ms"], given.get("comment"))


def _other_digest() -> Conflict:
    return Conflict(
        "the plan has another digest than the one that was given",
        hint="`GET /v1/runs/{id}/plan` shows it; look at it again before you approve it",
    )


def _not_found() -> NotFound:
    return NotFound("there is no run with this id", hint="GET /v1/runs lists your runs")
