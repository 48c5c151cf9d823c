"""
Endpoints that are told when runs end: kept, changed, switched on and off.

Runs in: api, scheduler, CLI. Trusts: the trigger keys. Refuses: addresses that may not be called;
another tenant's endpoints. May import: stdlib, redis, core, ledger, tenancy, triggers.

An endpoint without an address of its own is for runs that name one: it has the secret with which
those are signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import keys
from core.clock import Clock, now_ms
from core.errors import Conflict, Invalid, NotFound
from core.ids import is_id, new_id
from ledger.leaves import LeafKind
from tenancy.tenants import check_tenant
from triggers.callback_url import UrlPolicy
from triggers.callbacks import MAX_NAME_CHARS, Endpoint
from triggers.kept import Changes, Fields, KeptThings, Kind
from triggers.secret_set import SecretSet
from triggers.trigger_keys import TriggerKeys, needed
from triggers.verification import standard_webhooks

if TYPE_CHECKING:
    from redis.asyncio import Redis

ID_PREFIX = "clb"
MAX_ENDPOINTS = 50
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
KIND = Kind(
    noun="callback endpoint",
    prefix=ID_PREFIX,
    key=keys.callback,
    index=keys.callbacks,
    most=MAX_ENDPOINTS,
    leaf_kind=LeafKind.CALLBACK_CHANGED,
    listed_by="GET /v1/callbacks",
)


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of an endpoint; None leaves as it is."""

    name: str | None = None
    url: str | None = None
    enabled: bool | None = None


class CallbackStore:
    """The endpoints of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(
        self,
        redis: Redis,
        trigger_keys: TriggerKeys | None,
        policy: UrlPolicy,
        clock: Clock = now_ms,
    ) -> None:
        self._kept = KeptThings(redis, KIND, clock)
        self._keys = trigger_keys
        self._policy = policy
        self._clock = clock

    async def create(
        self,
        tenant: str,
        name: str,
        url: str | None,
        *,
        by: str,
        endpoint_id: str | None = None,
    ) -> tuple[Endpoint, str]:
        """
        Make an endpoint, and give it with its secret, which is shown here and never again.

        Raises:
            Invalid: no address that may be called, or no name.
            Conflict: the tenant has `MAX_ENDPOINTS`.
            Unavailable: there is no trigger key, or Redis did not confirm.
        """
        check_tenant(tenant)
        trigger_keys, now = needed(self._keys), self._clock()
        endpoint_id = endpoint_id or new_id(ID_PREFIX, now_ms=now)
        secret = standard_webhooks.new_secret()
        secrets, _ = SecretSet(owner_of(tenant, endpoint_id)).with_new(trigger_keys, secret, now)
        fields: Changes = {
            "name": check_name(name),
            "url": "" if url is None else self._policy.check(url),
            "state": "enabled",
            "created_ms": now,
            "secrets": secrets.text(),
        }
        await self._kept.add(tenant, endpoint_id, fields, by=by)
        return await self.get(tenant, endpoint_id), secret

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        """
        Give an endpoint of this tenant.

        Raises:
            NotFound: it has none with this id. Unavailable: Redis does not answer.
        """
        return _shown(endpoint_id, tenant, await self._kept.read(tenant, endpoint_id))

    async def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[Endpoint], str | None]:
        """
        List the tenant's endpoints, newest first, and give the cursor of the next page.

        Raises:
            Invalid: `cursor` or `limit` is wrong. Unavailable: Redis does not answer.
        """
        found, following = await self._kept.page(tenant, cursor=cursor, limit=limit)
        return [_shown(one, tenant, row) for one, row in found], following

    async def change(self, tenant: str, endpoint_id: str, change: Change, *, by: str) -> Endpoint:
        """
        Change an endpoint; one that is switched on again begins as if it had never failed.

        Raises:
            NotFound: the tenant has none with this id.
            Invalid: no address that may be called, or no name.
            Conflict: it has no address of its own, and cannot get one; or the other way about.
            Unavailable: Redis did not confirm.
        """

        def changes(fields: Fields) -> Changes:
            made: dict[str, str | bytes | int | None] = {}
            if change.name is not None:
                made["name"] = check_name(change.name)
            if change.url is not None:
                if not fields[b"url"]:
                    raise Conflict("it is for addresses that runs name, and has none of its own")
                made["url"] = self._policy.check(change.url)
            if change.enabled is not None:
                made |= _switched(fields, self._clock(), on=change.enabled)
            return made

        fields = await self._kept.change(tenant, endpoint_id, changes, by=by)
        return _shown(endpoint_id, tenant, fields)

    async def delete(self, tenant: str, endpoint_id: str, *, by: str) -> None:
        """
        Forget an endpoint; what was to be delivered to it is given up.

        Raises:
            NotFound: the tenant has none with this id. Unavailable: Redis did not confirm.
        """
        await self._kept.remove(tenant, endpoint_id, by=by)

    async def add_secret(self, tenant: str, endpoint_id: str, *, by: str) -> tuple[Endpoint, str]:
        """
        Make a further secret, and give it; deliveries are signed with all of them.

        Raises:
            NotFound: the tenant has no such endpoint. Conflict: it has all it may have.
            Unavailable: there is no trigger key, or Redis did not confirm.
        """
        trigger_keys, secret = needed(self._keys), standard_webhooks.new_secret()

        def changes(fields: Fields) -> Changes:
            secrets = _secrets(tenant, endpoint_id, fields)
            return {"secrets": secrets.with_new(trigger_keys, secret, self._clock())[0].text()}

        fields = await self._kept.change(tenant, endpoint_id, changes, by=by)
        return _shown(endpoint_id, tenant, fields), secret

    async def remove_secret(
        self, tenant: str, endpoint_id: str, secret_id: str, *, by: str
    ) -> Endpoint:
        """
        Forget a secret.

        Raises:
            NotFound: no such endpoint or secret.
            Conflict: it is the last one, and nothing would be signed.
            Unavailable: Redis did not confirm.
        """

        def changes(fields: Fields) -> Changes:
            left = _secrets(tenant, endpoint_id, fields).without(secret_id)
            if not left.kept:
                raise Conflict("it is the only secret", hint="make another one first")
            return {"secrets": left.text()}

        fields = await self._kept.change(tenant, endpoint_id, changes, by=by)
        return _shown(endpoint_id, tenant, fields)

    async def target(self, tenant: str, text: str, *, pointer: str = "/callback") -> str:
        """
        Give what a run keeps of its callback: an endpoint's id, or that and an address of its own.

        Args:
            tenant: whose run.
            text: the id of an endpoint, or an address.
            pointer: where it stood in the request.

        Raises:
            Invalid: the tenant has no such endpoint, the address may not be called, or no endpoint
                for such addresses is there.
            Unavailable: Redis does not answer.
        """
        if is_id(text, ID_PREFIX):
            try:
                endpoint = await self.get(tenant, text)
            except NotFound:
                raise _no_endpoint(pointer) from None
            if endpoint.url is None:
                detail = "this endpoint has no address: name one in place of its id"
                raise Invalid(detail, pointer=pointer)
            return text
        if _ADDRESS.match(text) is None:
            raise _no_endpoint(pointer)
        url = self._policy.check(text, pointer=pointer)
        found, _ = await self.page(tenant, limit=MAX_ENDPOINTS)
        signing = [one for one in found if one.url is None and one.state == "enabled"]
        if not signing:
            raise Invalid(
                "there is no endpoint whose secret could sign what goes to addresses of runs",
                pointer=pointer,
                hint='make one without an address: POST /v1/callbacks {"name": "any"}',
            )
        return f"{signing[0].id} {url}"


def check_name(name: str) -> str:
    """
    Give a name back if it can be one.

    Raises:
        Invalid: it is empty, too long or not printable.
    """
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
        detail = f"it must be 1 to {MAX_NAME_CHARS} printable characters"
        raise Invalid(detail, pointer="/name")
    return name


def secrets_of(
    tenant: str, endpoint_id: str, fields: Fields, trigger_keys: TriggerKeys
) -> list[str]:
    """
    Open the secrets of an endpoint, oldest first.

    Raises:
        VaultDamaged, Unavailable: as `TriggerKeys.open`.
    """
    return list(_secrets(tenant, endpoint_id, fields).opened(trigger_keys))


def _shown(endpoint_id: str, tenant: str, fields: Fields) -> Endpoint:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    shown = _secrets(tenant, endpoint_id, fields).shown()
    return Endpoint.model_validate(
        {
            "id": endpoint_id,
            "name": text["name"],
            "url": text["url"] or None,
            "state": text["state"],
            "disabled_why": text.get("disabled_why"),
            "disabled_ms": text.get("disabled_ms"),
            "failing_since_ms": text.get("failing_since_ms"),
            "created_ms": text["created_ms"],
            "secrets": shown,
        }
    )


def _secrets(tenant: str, endpoint_id: str, fields: Fields) -> SecretSet:
    return SecretSet.read(owner_of(tenant, endpoint_id), fields.get(b"secrets"))


def owner_of(tenant: str, endpoint_id: str) -> tuple[str, str, str]:
    """Give what secrets of an endpoint are sealed for."""
    return ("callback secret", tenant, endpoint_id)


def _switched(fields: Fields, at_ms: int, *, on: bool) -> dict[str, str | bytes | int | None]:
    if on:
        gone = ("disabled_why", "disabled_ms", "failing_since_ms")
        return {"state": "enabled", **dict.fromkeys(gone)}
    if fields[b"state"] == b"disabled":
        return {}
    return {"state": "disabled", "disabled_why": "by_hand", "disabled_ms": at_ms}


def _no_endpoint(pointer: str) -> Invalid:
    return Invalid(
        "it is neither an endpoint of yours nor an address",
        pointer=pointer,
        hint="GET /v1/callbacks lists your endpoints",
    )
