"""
Inbound webhooks: which senders may start which saved script, kept, changed and counted.

Runs in: api, CLI. Trusts: the trigger keys. Refuses: more hooks than a tenant may have, secrets
that could be guessed; another tenant's hooks. May import: stdlib, pydantic, redis, core, ledger,
runs, tenancy, triggers.

A hook starts its runs with the key that made it, changed it or gave it a secret last: nobody gets
another's rights by pointing a hook elsewhere. When that key is revoked or loses `runs:write`, the
hook starts nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core import keys
from core.clock import Clock, now_ms
from core.errors import Invalid
from core.ids import new_id
from ledger.leaves import LeafKind
from tenancy.tenants import check_tenant
from triggers.callbacks import SecretShown
from triggers.hooks import Hook, HookTerms
from triggers.kept import Changes, Fields, KeptThings, Kind
from triggers.secret_set import SecretSet
from triggers.starting import Owner
from triggers.trigger_keys import TriggerKeys, needed
from triggers.verification import standard_webhooks
from triggers.verification.schemes import OF_THE_SENDER, Scheme, check_secret

if TYPE_CHECKING:
    from redis.asyncio import Redis

ID_PREFIX = "hok"
MAX_HOOKS = 100
KIND = Kind(
    noun="hook",
    prefix=ID_PREFIX,
    key=keys.hook,
    index=keys.hooks,
    most=MAX_HOOKS,
    leaf_kind=LeafKind.HOOK_CHANGED,
    listed_by="GET /v1/hooks",
)


@dataclass(frozen=True, slots=True)
class OpenHook:
    """A hook with its secrets, for who checks an event of it."""

    hook: Hook
    tenant: str
    owner: Owner
    sealed: SecretSet


class HookStore:
    """The hooks of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(
        self, redis: Redis, trigger_keys: TriggerKeys | None, clock: Clock = now_ms
    ) -> None:
        self._kept = KeptThings(redis, KIND, clock)
        self._keys = trigger_keys
        self._clock = clock

    async def create(
        self,
        tenant: str,
        terms: HookTerms,
        secret: str | None,
        *,
        owner: Owner,
        hook_id: str | None = None,
    ) -> tuple[Hook, str | None]:
        """
        Make a hook. Its runs start with the key of `owner`.

        Where no secret is given and the sender does not make one itself, one is made: it is given
        here and never again.

        Raises:
            Invalid: terms that do not fit, or a secret that cannot be one.
            Conflict: the tenant has `MAX_HOOKS`.
            Unavailable: there is no trigger key, or Redis did not confirm.
        """
        check_tenant(tenant)
        trigger_keys, now = needed(self._keys), self._clock()
        hook_id, made = hook_id or new_id(ID_PREFIX, now_ms=now), None
        if secret is None and terms.scheme not in OF_THE_SENDER:
            secret = made = standard_webhooks.new_secret()
        secrets = SecretSet(owner_of(tenant, hook_id))
        if secret is not None:
            checked = _checked_secret(terms.scheme, secret)
            secrets, _ = secrets.with_new(trigger_keys, checked, now)
        fields: Changes = {
            "terms": terms.checked().model_dump_json(),
            "created_ms": now,
            "secrets": secrets.text(),
            **_owned(owner),
        }
        await self._kept.add(tenant, hook_id, fields, by=owner.key_id)
        return await self.get(tenant, hook_id), made

    async def get(self, tenant: str, hook_id: str) -> Hook:
        """
        Give a hook of this tenant.

        Raises:
            NotFound: it has none with this id. Unavailable: Redis does not answer.
        """
        return _shown(hook_id, await self._kept.read(tenant, hook_id))

    async def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[Hook], str | None]:
        """
        List the tenant's hooks, newest first, and give the cursor of the next page.

        Raises:
            Invalid: `cursor` or `limit` is wrong. Unavailable: Redis does not answer.
        """
        found, following = await self._kept.page(tenant, cursor=cursor, limit=limit)
        return [_shown(one, row) for one, row in found], following

    async def change(
        self, tenant: str, hook_id: str, changes: dict[str, Any], *, owner: Owner
    ) -> Hook:
        """
        Change some of the terms, `scheme` excepted; its runs start with the key of `owner` then.

        Raises:
            NotFound: the tenant has none with this id.
            Invalid: terms that do not fit. Unavailable: Redis did not confirm.
        """

        def made(fields: Fields) -> Changes:
            terms = HookTerms.model_validate_json(fields[b"terms"])
            changed = terms.model_copy(update=changes).checked()
            return {"terms": changed.model_dump_json(), **_owned(owner)}

        kept = await self._kept.change(tenant, hook_id, made, by=owner.key_id)
        return _shown(hook_id, kept)

    async def delete(self, tenant: str, hook_id: str, *, by: str) -> None:
        """
        Forget a hook; runs that it started go on.

        Raises:
            NotFound: the tenant has none with this id. Unavailable: Redis did not confirm.
        """
        await self._kept.remove(tenant, hook_id, by=by)

    async def add_secret(
        self, tenant: str, hook_id: str, secret: str | None, *, owner: Owner
    ) -> tuple[Hook, str | None]:
        """
        Keep a further secret; without one it is made here, and given this once.

        Who has a secret can start its script: its runs start with the key of `owner` then.

        Raises:
            NotFound: the tenant has no such hook. Conflict: it has all it may have.
            Invalid: it cannot be one of the scheme, or the sender makes its secrets itself.
            Unavailable: there is no trigger key, or Redis did not confirm.
        """
        trigger_keys = needed(self._keys)
        fresh = standard_webhooks.new_secret()

        def changes(fields: Fields) -> Changes:
            scheme = HookTerms.model_validate_json(fields[b"terms"]).scheme
            if secret is None and scheme in OF_THE_SENDER:
                detail = f"with {scheme} the sender makes the secret: give that one"
                raise Invalid(detail, pointer="/secret")
            text = _checked_secret(scheme, fresh if secret is None else secret)
            more, _ = _secrets(hook_id, fields).with_new(trigger_keys, text, self._clock())
            return {"secrets": more.text(), **_owned(owner)}

        fields = await self._kept.change(tenant, hook_id, changes, by=owner.key_id)
        return _shown(hook_id, fields), fresh if secret is None else None

    async def remove_secret(self, tenant: str, hook_id: str, secret_id: str, *, by: str) -> Hook:
        """
        Forget a secret; without any, nothing that comes is genuine.

        Raises:
            NotFound: no such hook or secret. Unavailable: Redis did not confirm.
        """

        def changes(fields: Fields) -> Changes:
            return {"secrets": _secrets(hook_id, fields).without(secret_id).text()}

        return _shown(hook_id, await self._kept.change(tenant, hook_id, changes, by=by))

    async def open(self, hook_id: str) -> OpenHook:
        """
        Give a hook to who checks an event of it, whoever's it is.

        Raises:
            NotFound: there is none with this id. Unavailable: Redis does not answer.
        """
        fields = await self._kept.read_any(hook_id)
        if fields is None or b"terms" not in fields:
            raise self._kept.missing()
        return OpenHook(
            hook=_shown(hook_id, fields),
            tenant=fields[b"tenant"].decode(),
            owner=Owner(fields[b"key_id"].decode(), fields[b"key_tenant"].decode()),
            sealed=_secrets(hook_id, fields),
        )


def _shown(hook_id: str, fields: Fields) -> Hook:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    terms = HookTerms.model_validate_json(fields[b"terms"])
    return Hook(
        **{name: getattr(terms, name) for name in HookTerms.model_fields},
        id=hook_id,
        path=f"/v1/hooks/{hook_id}",
        created_ms=int(text["created_ms"]),
        key_id=text["key_id"],
        secrets=[SecretShown(**one) for one in _secrets(hook_id, fields).shown()],
        started=int(text.get("n_started", 0)),
        repeated=int(text.get("n_repeated", 0)),
        refused=int(text.get("n_refused", 0)),
        last_event_ms=int(text["n_last_ms"]) if "n_last_ms" in text else None,
        last_refusal=text.get("n_refusal"),
        last_refusal_ms=int(text["n_refusal_ms"]) if "n_refusal_ms" in text else None,
    )


def _secrets(hook_id: str, fields: Fields) -> SecretSet:
    owner = owner_of(fields[b"tenant"].decode(), hook_id)
    return SecretSet.read(owner, fields.get(b"secrets"))


def owner_of(tenant: str, hook_id: str) -> tuple[str, str, str]:
    """Give what secrets of a hook are sealed for."""
    return ("hook secret", tenant, hook_id)


def _owned(owner: Owner) -> dict[str, str]:
    return {"key_id": owner.key_id, "key_tenant": owner.key_tenant}


def _checked_secret(scheme: Scheme, secret: str) -> str:
    try:
        return check_secret(scheme, secret)
    except Invalid as wrong:
        raise Invalid(wrong.detail, pointer="/secret") from None
