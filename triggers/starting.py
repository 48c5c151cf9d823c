"""
Starting a saved script as a run: the one way for schedules, hooks and syncs.

Runs in: api, scheduler. Trusts: whoever calls it to have checked why it is called.
Refuses: a key that is gone, has expired or may not start runs; an input that the script's schema
does not take. May import: stdlib, redis, core, integrations.arguments, runs,
tenancy, triggers.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from core.clock import Clock, now_ms
from core.errors import Forbidden, NotFound
from core.ids import id_of
from integrations.arguments import count_values
from runs.accept import Checked, check_request
from runs.model import RunRecord, RunRequest
from runs.origin import Origin
from runs.store import ID_PREFIX, RunStore
from tenancy.keys import KeyStore
from tenancy.scopes import Scope
from triggers.input_schema import check_input, schema_text
from triggers.refs import Ref
from triggers.saved import ScriptVersion
from triggers.scripts import SavedScripts

if TYPE_CHECKING:
    from redis.asyncio import Redis

_FEW_VALUES = 200
_FIT_S = 1.0
_MAX_FIT = 4_096
_UNNAMED = RunRequest.model_fields["name"].default


class KeyUnfit(Forbidden):
    """The key under which something was set up is gone, has expired or may not start runs."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose key something runs with: the key's id, and the tenant that keeps it."""

    key_id: str
    key_tenant: str


class Starter:
    """Starts saved scripts. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, store: RunStore, clock: Clock = now_ms) -> None:
        self._store = store
        self._scripts = SavedScripts(redis)
        self._keys = KeyStore(redis)
        self._clock = clock
        self._fit: dict[tuple[Owner, str], float] = {}

    async def start(  # noqa: PLR0913 (what is run, for whom, and why)
        self,
        tenant: str,
        script_ref: str,
        input: Any,  # noqa: A002 (the name that scripts know it by)
        *,
        origin: Origin | None,
        key_id: str,
        key_tenant: str | None = None,
        run_id: str | None = None,
        maker_grants: list[str | dict[str, Any]] | None = None,
        **asked: Any,
    ) -> RunRecord:
        """
        Start the version that `script_ref` means now.

        It runs with what the key `key_id` may call today. With a `run_id`, starting again gives the
        run that is there. `maker_grants` are rules that must allow its calls beside those of today.
        `key_tenant` keeps the key, if that is not `tenant`: an operator's.
        `asked` are further fields of a `RunRequest`: limits, grants, seed, priority...

        Raises:
            KeyUnfit: the key is gone, has expired, lacks `runs:write`, or acts for others no more.
            ScriptMissing: there is no such script, version or alias.
            InputMismatch, Invalid, TooLarge: the input or what else is asked cannot be taken.
            QuotaExceeded, Unavailable, Forbidden: as `RunStore.submit_checked`.
        """
        await self.check_key(Owner(key_id, key_tenant or tenant), tenant)
        request = RunRequest(script_ref=script_ref, input=input, **asked)
        checked = await look_up(self._scripts, tenant, request)
        return await self._store.submit_checked(
            tenant,
            replace(checked, origin=origin, maker_grants=maker_grants),
            key_id=key_id,
            run_id=run_id,
        )

    async def check_key(self, owner: Owner, tenant: str) -> None:
        """
        Refuse a key that may not start runs of `tenant`, or no longer.

        One that may is not asked for again for a second.

        Raises:
            KeyUnfit: it says why. Unavailable: Redis could not be asked.
        """
        if time.monotonic() < self._fit.get((owner, tenant), 0.0):
            return
        try:
            key = await self._keys.get(owner.key_tenant, owner.key_id)
        except NotFound:
            raise KeyUnfit(f"the key {owner.key_id} was revoked") from None
        why = key.unfit_for(tenant, [Scope.WRITE], self._clock())
        if why is not None:
            raise KeyUnfit(why)
        if len(self._fit) >= _MAX_FIT:
            self._fit.clear()
        self._fit[owner, tenant] = time.monotonic() + _FIT_S


async def look_up(scripts: SavedScripts, tenant: str, request: RunRequest) -> Checked:
    """
    Put a saved script's text and terms into a request that names one by `script_ref`, and check it.

    Limits and grants of the request go before those of the script.

    Raises:
        ScriptMissing, InputMismatch, Invalid, TooLarge: as `Starter.start`.
    """
    found = await scripts.resolve(tenant, Ref.parse(request.script_ref or ""))
    version = found.version
    whole = request.model_copy(
        update={
            "script": found.text.decode(),
            "script_ref": None,
            "limits": {**version.limits, **request.limits},
            "grants": version.grants if request.grants is None else request.grants,
            "name": version.ref if request.name == _UNNAMED else request.name,
        }
    )
    if count_values(request.input, _FEW_VALUES) <= _FEW_VALUES:
        checked = _check(whole, version)
    else:
        # It takes its time: nobody else waits for it.
        checked = await asyncio.to_thread(_check, whole, version)
    # The script's own limits are defaults: one above a ceiling is lowered, not refused.
    return replace(checked, script_ref=version.ref, asked=frozenset(request.limits))


def _check(request: RunRequest, version: ScriptVersion) -> Checked:
    checked = check_request(request)
    if version.input_schema is not None:
        check_input(version.ref, schema_text(version.input_schema), request.input)
    return checked


def run_id_of(source: str, what: str, at_ms: int) -> str:
    """
    Give the id of the one run that `source`, an id of ours, starts for `what` at `at_ms`.

    The same three give the same id: whoever starts it a second time finds it started.
    """
    digest = hashlib.sha256(f"{source}\n{what}\n{at_ms}".encode()).digest()
    return id_of(ID_PREFIX, at_ms, int.from_bytes(digest[:10]))
