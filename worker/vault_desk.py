"""
Answering the API's questions about tenants' vaults: the API itself can neither open nor change one.

Runs in: worker. Trusts: nothing in a question but that its asker may speak for the tenant it
names, as the API does for runs. Refuses: what does not open, what is too late, and of a tenant's
account what the pack does not allow a tenant to say. May import: integrations, tenancy, core,
redis.

Everything is checked here whatever the API has checked: who broke into the API can write
accounts of tenants, as any of them could, but reads none and writes none as the operator.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from core import keys
from core.clock import now_ms
from core.errors import Broken, Conflict, Invalid, NotFound, ServiceError
from integrations.account_fields import FieldWrong, canonical, check_account_name
from tenancy.desk import WAIT_S, Do
from tenancy.envelope import VaultDamaged, seal
from tenancy.sealing_key import open_sealed
from tenancy.vault_records import Writer

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from integrations.accounts import AccountsFile
    from integrations.catalog import Catalog
    from tenancy.master_keys import MasterKeys
    from tenancy.vault import Vault

_BLOCK_S = 5
_PAUSE_S = 0.5
#: Milliseconds the clocks of API and worker may be apart, the time of waiting included.
_FRESH_MS = 60_000
_FIELDS = {"do", "tenant", "integration", "account", "values", "reply_key", "at_ms"}


class VaultDesk:
    """Answers one question after the other. Owns nothing."""

    def __init__(
        self,
        redis: Redis,
        vault: Vault,
        masters: MasterKeys,
        file: AccountsFile,
        catalog: Catalog,
    ) -> None:
        self._redis = redis
        self._vault = vault
        self._masters = masters
        self._file = file
        self._catalog = catalog
        self._log = structlog.get_logger(__name__)

    async def run(self) -> None:
        """Answer until cancelled; nothing in a question ends it."""
        waiting = [keys.vault_questions(key_id) for key_id in self._masters.ids]
        while True:
            try:
                found: Any = await self._redis.blpop(waiting, timeout=_BLOCK_S)
                if found is not None:
                    key_id = found[0].decode().rpartition(":")[2]
                    await self._answer(key_id, found[1].decode())
            except RedisError as error:
                self._log.warning("vault_desk_interrupted", error=type(error).__name__)
                await asyncio.sleep(_PAUSE_S)
            except Exception as error:  # noqa: BLE001 (one bad question must not end the desk)
                # Without its text: it may hold what was asked.
                self._log.error("vault_question_broke", error=type(error).__name__)

    async def _answer(self, key_id: str, ask_id: str) -> None:
        # Taken and gone in one step: it is done once, and never after its asker has left.
        sealed = await self._redis.getdel(keys.vault_question(ask_id))
        if sealed is None:
            return
        try:
            question = self._opened(key_id, ask_id, sealed)
        except VaultDamaged as error:
            self._log.warning("vault_question_refused", problem=error.detail)
            return
        answer = seal(
            base64.b64decode(question["reply_key"]),
            await self._answered(question),
            ("answer", ask_id),
        )
        pipe = self._redis.pipeline(transaction=True)
        pipe.rpush(keys.vault_answer(ask_id), answer)
        pipe.expire(keys.vault_answer(ask_id), WAIT_S)
        await pipe.execute()

    def _opened(self, key_id: str, ask_id: str, sealed: Any) -> dict[str, Any]:
        question = open_sealed(self._masters, key_id, sealed, ("ask", ask_id))
        if not isinstance(question, dict) or set(question) != _FIELDS:
            raise VaultDamaged("a question has other fields than it should")
        if abs(now_ms() - question["at_ms"]) > _FRESH_MS:
            # Put back by somebody who can write to Redis, or the API's clock is not ours.
            raise VaultDamaged("a question is of another time; are all clocks right?")
        return question

    async def _answered(self, question: dict[str, Any]) -> dict[str, Any]:
        tenant = str(question["tenant"])
        try:
            value = await self._done(Do(question["do"]), tenant, question)
        except ServiceError as error:
            if isinstance(error, Broken):
                self._log.error("vault_damaged", tenant=tenant, problem=error.detail)
            pointer = error.pointer if isinstance(error, Invalid) else None
            problem = {"code": error.code, "detail": error.detail, "hint": error.hint}
            return {"problem": {**problem, "pointer": pointer}}
        self._log.info("vault_asked", tenant=tenant, do=question["do"])
        return {"value": value}

    async def _done(self, do: Do, tenant: str, question: dict[str, Any]) -> Any:
        if do is Do.LIST:
            return [asdict(one) for one in await self._vault.accounts(tenant)]
        if do is Do.REKEY:
            return await self._vault.rekey(tenant)
        integration, account = str(question["integration"]), str(question["account"])
        if do is Do.DELETE:
            await self._vault.delete(tenant, integration, account, Writer.TENANT)
            return None
        values = self._checked(tenant, integration, account, question["values"])
        kept = await self._vault.set(tenant, integration, account, values, Writer.TENANT)
        return asdict(kept)

    def _checked(
        self, tenant: str, name: str, account: str, given: dict[str, str]
    ) -> dict[str, str]:
        integration = self._catalog.integrations.get(name)
        if integration is None or integration.pack is None:
            raise NotFound("there is no such integration with accounts")
        try:
            check_account_name(integration, account)
            values = canonical(integration.pack, given, by_tenant=True)
        except FieldWrong as wrong:
            # No pointer of ours: the field's own name is given, the API knows where it stood.
            raise Invalid(f"{wrong.field or 'account'}: {wrong}") from None
        if account in self._file.for_tenant(tenant).names(name):
            raise Conflict(
                "the operator keeps this account; a tenant can neither replace nor delete it",
                hint="choose another account name, or ask the operator",
            )
        return values
