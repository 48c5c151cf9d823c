"""
Connections to Mux: who may make one, what is kept of it, and where its secrets are.

Runs in: api, scheduler. Trusts: Redis. Refuses: a name twice in a tenant; to show a secret.
May import: stdlib, redis, orjson, core, ledger, tenancy, triggers.

The access token is an account of the tenant's vault and never here. The webhook secret is sealed
with the trigger keys, since the API has to check signatures with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from core.clock import Clock, now_ms
from core.errors import Conflict, Invalid, NotFound, Refused
from core.ids import is_id, new_id
from ledger.leaves import LeafKind
from triggers.kept import MAX_PAGE, Fields, KeptThings, Kind, redis_or_unavailable
from triggers.mux_mixpeek.model import (
    CONNECTION,
    Connection,
    ConnectionChange,
    ConnectionConfig,
    ProviderConfig,
)
from triggers.trigger_keys import TriggerKeys, needed
from triggers.verification.schemes import Scheme, check_secret

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_CONNECTIONS = 100
KIND = Kind(
    noun="connection",
    prefix=CONNECTION,
    key=keys.connection,
    index=keys.connections,
    most=MAX_CONNECTIONS,
    leaf_kind=LeafKind.CONNECTION_CHANGED,
    listed_by="POST /v1/organizations/connections/list",
    unique="name",
)


class NoWebhookSecret(Refused):
    """A webhook came for a connection that has no secret to check it with."""


class Connections:
    """The connections of all tenants. Owns nothing; the connection to Redis is its maker's."""

    def __init__(
        self, redis: Redis, trigger_keys: TriggerKeys | None, clock: Clock = now_ms
    ) -> None:
        self._redis = redis
        self._kept = KeptThings(redis, KIND, clock)
        self._keys = trigger_keys
        self._clock = clock

    def new(
        self, tenant: str, given: ConnectionConfig, *, connection_id: str | None = None
    ) -> Connection:
        """
        Make a connection that is not kept yet.

        Raises:
            Invalid: the webhook secret cannot be one.
            Unavailable: there is one, and no key here to seal it with.
        """
        one, now = connection_id or new_id(CONNECTION), self._clock()
        named = given.provider_config.credentials
        return Connection(
            id=one,
            tenant=tenant,
            name=given.name,
            account=named.account or one,
            own_account=named.account is None,
            description=given.description,
            metadata=given.metadata,
            is_active=True,
            created_ms=now,
            updated_ms=now,
            secret=self._sealed(one, given.provider_config),
        )

    async def add(self, connection: Connection, *, by: str) -> None:
        """
        Keep a connection.

        Raises:
            Conflict: the tenant has one of this name, or too many.
            Unavailable: Redis did not confirm.
        """
        await self._kept.add(connection.tenant, connection.id, _fields(connection), by=by)

    async def check_name(self, tenant: str, name: str, but: str | None = None) -> None:
        """
        Refuse a name that another connection of the tenant has, before anything is done for it.

        Raises:
            Conflict: one has it.
        """
        for one in (await self.page(tenant, limit=MAX_PAGE))[0]:
            if one.name == name and one.id != but:
                raise Conflict(
                    "there is a connection of this name already",
                    hint="choose another, or change that one",
                )

    async def get(self, tenant: str, named: str) -> Connection:
        """
        Give a connection of this tenant by its id or name.

        Raises:
            NotFound: it has none. Unavailable: Redis does not answer.
        """
        if is_id(named, CONNECTION):
            return _read(named, await self._kept.read(tenant, named))
        for one in (await self.page(tenant, limit=MAX_PAGE))[0]:
            if one.name == named:
                return one
        raise NotFound(
            "there is no connection with this id or name",
            hint=f"{KIND.listed_by} lists yours",
        )

    async def find(self, connection_id: str) -> Connection | None:
        """
        Give a connection whoever's it is; None when there is none.

        Raises:
            Unavailable: Redis does not answer.
        """
        found = await self._kept.read_any(connection_id)
        return None if found is None else _read(connection_id, found)

    async def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[Connection], str | None]:
        """
        List the tenant's connections, newest first, with the cursor of the next page or None.

        Raises:
            Invalid: the cursor or the limit. Unavailable: Redis does not answer.
        """
        rows, after = await self._kept.page(tenant, cursor=cursor, limit=limit)
        return [_read(one, fields) for one, fields in rows], after

    async def change(
        self, tenant: str, one: str, given: ConnectionChange, *, by: str
    ) -> Connection:
        """
        Change a connection, and give it as it is then.

        Raises:
            NotFound: the tenant has none with this id.
            Conflict: another one has the new name.
            Invalid, Unavailable: as `new`.
        """
        sealed = await self.check_change(tenant, one, given)

        def changed(fields: Fields) -> Mapping[str, str | bytes | int | None]:
            del fields  # nothing that is kept decides what is written
            return _changes(one, given, sealed, self._clock())

        return _read(one, await self._kept.change(tenant, one, changed, by=by))

    async def check_change(self, tenant: str, one: str, given: ConnectionChange) -> str | None:
        """
        Refuse a change before anything is done for it; give its webhook secret, sealed.

        Raises:
            Conflict, Invalid, Unavailable: as `change`.
        """
        if given.name is not None:
            await self.check_name(tenant, given.name, but=one)
        if given.provider_config is None:
            return None
        return self._sealed(one, given.provider_config)

    async def remove(self, tenant: str, one: str, *, by: str) -> None:
        """
        Forget a connection.

        Raises:
            NotFound: the tenant has none with this id. Unavailable: Redis did not confirm.
        """
        await self._kept.remove(tenant, one, by=by)

    async def note(self, one: str, error: str) -> None:
        """
        Write down that a connection was used; `error` is what went wrong, or empty.

        Raises:
            Unavailable: Redis did not confirm.
        """
        noted: dict[str, Any] = {"last_error": error}
        if not error:
            noted["last_used_ms"] = self._clock()
        async with redis_or_unavailable("the connection"):
            # A connection that a sync uses is not deleted: this makes none again.
            await cast("Any", self._redis.hset(keys.connection(one), mapping=cast("Any", noted)))

    def secret_of(self, connection: Connection) -> str:
        """
        Open the webhook secret.

        Raises:
            NoWebhookSecret: it has none.
            Unavailable, VaultDamaged: as `TriggerKeys.open`.
        """
        if not connection.secret:
            raise NoWebhookSecret(
                "this connection has no webhook_secret",
                hint="PATCH /v1/organizations/connections/{connection_id} takes the signing secret "
                "that Mux shows for its webhook",
            )
        return needed(self._keys).open(connection.secret, secret_place(connection.id))

    def _sealed(self, one: str, config: ProviderConfig) -> str:
        secret = config.credentials.webhook_secret
        if not secret:
            return ""
        try:
            check_secret(Scheme.MUX, secret)
        except Invalid as error:
            where = "/provider_config/credentials/webhook_secret"
            raise Invalid(error.detail, pointer=where, hint=error.hint) from None
        return needed(self._keys).seal(secret, secret_place(one))


def secret_place(one: str) -> tuple[str, ...]:
    """Give what the webhook secret of a connection is sealed for."""
    return ("webhook secret of a connection", one)


def _fields(connection: Connection) -> dict[str, str | bytes | int | None]:
    return {
        "name": connection.name,
        "account": connection.account,
        "own_account": int(connection.own_account),
        "description": connection.description,
        "metadata": orjson.dumps(connection.metadata),
        "active": int(connection.is_active),
        "created_ms": connection.created_ms,
        "updated_ms": connection.updated_ms,
        "secret": connection.secret,
    }


def _changes(
    one: str, given: ConnectionChange, sealed: str | None, at_ms: int
) -> dict[str, str | bytes | int | None]:
    said = given.model_fields_set
    changes: dict[str, str | bytes | int | None] = {"updated_ms": at_ms}
    if given.name is not None:
        changes["name"] = given.name
    if "description" in said:
        changes["description"] = given.description
    if given.metadata is not None:
        changes["metadata"] = orjson.dumps(given.metadata)
    if given.is_active is not None:
        changes["active"] = int(given.is_active)
    if given.provider_config is not None and sealed is not None:
        named = given.provider_config.credentials
        changes["account"] = named.account or one
        changes["own_account"] = int(named.account is None)
        changes["secret"] = sealed
    return changes


def _read(one: str, fields: Fields) -> Connection:
    text: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
    used = text.get("last_used_ms")
    return Connection(
        id=one,
        tenant=text["tenant"],
        name=text["name"],
        account=text["account"],
        own_account=text["own_account"] == "1",
        description=text.get("description"),
        metadata=orjson.loads(text["metadata"]),
        is_active=text["active"] == "1",
        created_ms=int(text["created_ms"]),
        updated_ms=int(text["updated_ms"]),
        secret=text["secret"],
        last_error=text.get("last_error") or None,
        last_used_ms=None if used is None else int(used),
    )
