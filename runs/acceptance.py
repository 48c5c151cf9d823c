"""
What is written when a run is accepted: its record, its RQ job, its tape's first entry, its leaf.

Single submissions and batches make the same of a request here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from core import keys
from core.settings import Settings
from ledger.leaves import accepted_leaf, new_salt
from runs.accept import Checked
from runs.model import Priority, RunRecord, State
from runs.quotas import RateState
from runs.record import kept_grants
from runs.redis_scripts import Arg
from runs.rq_job import job_fields
from tenancy.grants import GrantSet, Whose

_HOUR_S = 3_600


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

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """Give the terms that the operator chose."""
        return cls(
            queue_ttl_s=settings.queue_ttl_s,
            result_ttl_s=settings.result_ttl_s,
            failure_ttl_s=settings.failure_ttl_s,
            queue_max=settings.queue_max,
            inbox_max=settings.ledger_inbox_max,
        )

    @property
    def keep_s(self) -> int:
        """Give the seconds after which nothing of a run that never ends is kept."""
        return self.queue_ttl_s + _HOUR_S + max(self.result_ttl_s, self.failure_ttl_s)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """
    A run that may be accepted, in the strings that are stored.

    `kept` are fields of our record and `job` those of RQ's, as name, value, name, value. `accepted`
    is the body of its tape's first entry, `leaf` that of the ledger.
    """

    record: RunRecord
    queue: str
    kept: list[Arg]
    job: list[Arg]
    accepted: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    A run that was accepted, now or, `known`, before.

    `rates` are the quotas in which it was counted, as they were then.
    """

    record: RunRecord
    known: bool = False
    rates: tuple[RateState, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a run in a batch: the batch's id, and the index of the item, from 0."""

    batch: str
    item: int


def acceptance_of(  # noqa: PLR0913 (who, what, when, and by which terms)
    run_id: str,
    tenant: str,
    checked: Checked,
    *,
    ceiling: Mapping[Whose, GrantSet],
    key_id: str,
    terms: Terms,
    now_ms: int,
    place: Place | None = None,
) -> Acceptance:
    """Make all that is written when this run is accepted."""
    record = _new_record(run_id, tenant, checked, ceiling, now_ms)
    queue = keys.queue(tenant, record.priority)
    accepted = _accepted_body(record, checked, key_id)
    kept = _hash_fields(record, checked, key_id, terms)
    if place is not None:
        kept += ["batch", place.batch, "item", place.item]
    return Acceptance(
        record=record,
        queue=queue,
        kept=kept,
        job=list(
            job_fields(
                run_id,
                queue,
                now_ms=now_ms,
                wall_ms=checked.limits.wall_ms,
                queue_ttl_s=terms.queue_ttl_s,
                result_ttl_s=terms.result_ttl_s,
                failure_ttl_s=terms.failure_ttl_s,
            )
        ),
        accepted=orjson.dumps(accepted),
        leaf=accepted_leaf(run_id, now_ms, accepted),
    )


def _new_record(
    run_id: str, tenant: str, checked: Checked, ceiling: Mapping[Whose, GrantSet], now_ms: int
) -> RunRecord:
    sets = {whose.value: rules.to_json() for whose, rules in ceiling.items()}
    if checked.maker_grants is not None:
        sets[Whose.MAKER.value] = checked.maker_grants
    return RunRecord(
        id=run_id,
        status=State.QUEUED,
        tenant=tenant,
        name=checked.name,
        script_sha256=hashlib.sha256(checked.script).hexdigest(),
        limits=checked.limits.to_json(),
        grants=checked.grants,
        ceiling=sets or None,
        force=checked.force,
        seed=checked.seed,
        mode=checked.mode,
        plan=checked.approved.plan if checked.approved else None,
        created_ms=now_ms,
        origin=checked.origin,
        script_ref=checked.script_ref,
        callback=checked.callback,
        priority=checked.priority,
        expires_ms=checked.expires_ms,
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
    if checked.callback is not None:
        fields["callback"] = checked.callback
    if checked.origin is not None:
        fields |= {"origin": checked.origin.kind.value, "origin_id": checked.origin.id}
    if checked.script_ref is not None:
        fields["script_ref"] = checked.script_ref
    if checked.priority is not Priority.NORMAL:
        fields["priority"] = checked.priority.value
    if checked.expires_ms is not None:
        fields["expires_ms"] = checked.expires_ms
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
