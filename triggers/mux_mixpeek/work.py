"""
The runs of the connector: which script, with which input, and what it may call.

Runs in: api, scheduler. Trusts: what is kept of connections and syncs. Refuses: what `Starter`
refuses. May import: stdlib, redis, core, runs, triggers.

The scripts are saved scripts of the tenant, kept there before the first run of each. A run may use
the connection's account of Mux, the sync's of Mixpeek, and of each only the functions that its
script needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from core.clock import Clock, now_ms
from runs.model import RunRecord
from runs.origin import Origin, OriginKind
from runs.store import RunStore
from triggers.mux_mixpeek import shipped
from triggers.mux_mixpeek.model import Connection, Sync, SyncConfig
from triggers.saved import ScriptDraft, check_draft
from triggers.scripts import SavedScripts
from triggers.starting import Owner, Starter

if TYPE_CHECKING:
    from redis.asyncio import Redis

Event = Literal["deleted", "updated"]
#: Calls after which a run of a cycle hands over to the next one.
MOST_CALLS = 800
_LIMITS = {
    shipped.SYNC: {
        "calls": 1_000,
        "wall_ms": 900_000,
        "cpu_ms": 30_000,
        "instructions": 1_000_000_000,
    },
    shipped.ASSET: {"calls": 1_000, "wall_ms": 300_000},
    shipped.BUCKET: {"calls": 2, "wall_ms": 25_000},
}


@dataclass(frozen=True, slots=True)
class Work:
    """One run to start: a shipped script by its name, and what it is given."""

    script: str
    input: dict[str, Any]
    grants: list[Any]
    origin: Origin | None


class Workshop:
    """Starts runs of shipped scripts. Owns nothing."""

    def __init__(self, redis: Redis, store: RunStore, clock: Clock = now_ms) -> None:
        self._scripts = SavedScripts(redis, clock)
        self._starter = Starter(redis, store, clock)

    async def start(
        self, tenant: str, work: Work, *, owner: Owner, run_id: str | None = None
    ) -> RunRecord:
        """
        Start a run; with a `run_id`, starting again gives the run that is there.

        Raises:
            Refused, Unavailable: as `SavedScripts.save` and `Starter.start`.
        """
        draft = ScriptDraft(
            name=f"mux-mixpeek-{work.script}",
            script=shipped.text_of(work.script),
            limits=_LIMITS[work.script],
            note="Comes with the connector from Mux to Mixpeek.",
        )
        version, _ = await self._scripts.save(tenant, check_draft(draft), key_id=owner.key_id)
        return await self._starter.start(
            tenant,
            version.ref,
            work.input,
            origin=work.origin,
            key_id=owner.key_id,
            key_tenant=owner.key_tenant,
            run_id=run_id,
            grants=work.grants,
            # A write of which nobody knows is looked for by the script, not made again blindly.
            on_unknown="raise",
        )


def cycle_of(sync: Sync, connection: Connection) -> Work:
    """Make the run that carries a cycle of a sync, or the next part of one."""
    given: dict[str, Any] = {
        "sync": _for_script(sync) | {"mux_account": connection.account},
        "most_calls": MOST_CALLS,
    }
    if sync.next is not None:
        given["next"] = sync.next
    grants = [
        *_mux(connection, "list_assets", "get_asset"),
        *_mixpeek([sync.config], "list_objects", "create_object", "delete_object"),
    ]
    return Work(shipped.SYNC, given, grants, Origin(kind=OriginKind.SYNC, id=sync.id))


def asset_of(
    connection: Connection, event: Event, asset_id: str, syncs: Sequence[Sync], job: str
) -> Work:
    """Make the run that tells the syncs of a connection what became of an asset."""
    given = {
        "event": event,
        "asset_id": asset_id,
        "mux_account": connection.account,
        "syncs": [_for_script(one, filters=event == "updated") for one in syncs],
    }
    grants = [
        *_mux(connection, "get_asset"),
        *_mixpeek([one.config for one in syncs], "list_objects", "delete_object"),
    ]
    return Work(shipped.ASSET, given, grants, Origin(kind=OriginKind.HOOK, id=job))


def bucket_of(mixpeek_account: str, bucket: dict[str, Any]) -> Work:
    """Make the run that creates a bucket."""
    given = {"mixpeek_account": mixpeek_account, "bucket": bucket}
    grants: list[Any] = [_rule("mixpeek.create_bucket", [mixpeek_account])]
    return Work(shipped.BUCKET, given, grants, None)


def _for_script(sync: Sync, *, filters: bool = True) -> dict[str, Any]:
    config = sync.config
    given = {
        "sync_config_id": sync.id,
        "connection_id": config.connection_id,
        "bucket_id": sync.bucket_id,
        "namespace": config.namespace_id,
        "mixpeek_account": config.mixpeek_account,
        "asset_id": config.asset_id,
        "blob_property": config.blob_property,
        "auto_process": not config.skip_batch_submission,
        "reconcile_on_sync": config.reconcile_on_sync,
        **(config.file_filters.for_script() if filters else {}),
    }
    return {name: value for name, value in given.items() if value is not None}


def _mux(connection: Connection, *functions: str) -> list[Any]:
    return [_rule(f"mux.{one}", [connection.account]) for one in functions]


def _mixpeek(configs: Sequence[SyncConfig], *functions: str) -> list[Any]:
    accounts = sorted({one.mixpeek_account for one in configs})
    return [_rule(f"mixpeek.{one}", accounts) for one in functions]


def _rule(pattern: str, accounts: list[str]) -> dict[str, Any]:
    return {"pattern": pattern, "accounts": accounts}
