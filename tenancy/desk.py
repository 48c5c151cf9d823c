"""
Asking for a tenant's vault without having it: questions to workers, through Redis.

Runs in: api. Trusts: the operator's sealing key; of Redis only that it carries bytes.
Refuses: an answer that is not of the worker that opened the question. May import: stdlib, redis,
cryptography, core, tenancy.

A question is sealed so that only a worker with the master key opens it, and holds a key of its
own under which the answer is sealed. It lives as long as somebody waits for its answer: what
nobody took by then is never done later.
"""

from __future__ import annotations

import base64
import secrets
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError

from core import keys
from core.clock import now_ms
from core.errors import (
    Broken,
    Conflict,
    Invalid,
    NotFound,
    QuotaExceeded,
    ServiceError,
    Unavailable,
)
from core.ids import new_id
from tenancy.envelope import VaultDamaged, unseal
from tenancy.master_keys import KEY_BYTES

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tenancy.sealing_key import SealingKey

#: Seconds to wait for an answer; less than what one command of Redis may take.
WAIT_S = 8
#: Seconds a question stays beyond that, so that its asker still sees whether it was taken.
_LINGER_S = 3
#: Questions a tenant may have open at once in one process; each holds a connection to Redis.
MAX_OPEN = 8
#: Questions that wait for a worker; older ones are dropped.
MAX_WAITING = 1_000
_RAISED: dict[str, type[ServiceError]] = {
    one.code: one for one in (Conflict, Invalid, NotFound, Unavailable)
}


class Do(StrEnum):
    """What may be asked for."""

    LIST = "list"
    SET = "set"
    DELETE = "delete"
    REKEY = "rekey"


class Desk:
    """Where the API asks. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, key: SealingKey | None) -> None:
        self._redis = redis
        self._key = key
        self._open: Counter[str] = Counter()

    async def ask(
        self,
        do: Do,
        tenant: str,
        integration: str = "",
        account: str = "",
        values: Mapping[str, str] | None = None,
    ) -> Any:
        """
        Ask, and give the answer as `worker.vault_desk` makes it.

        Raises:
            NotFound, Conflict, Invalid: what the worker found wrong; nothing was changed.
            QuotaExceeded: too many wait for answers here.
            Unavailable: no sealing key, no Redis, or no answer; the words say whether something
                may have been changed.
        """
        if self._key is None:
            raise Unavailable(
                "the credential vault is off here: no sealing key is given",
                hint="the operator sets MOONSAND_VAULT_SEALING_KEY for the API",
            )
        if self._open[tenant] >= MAX_OPEN:
            detail = f"{MAX_OPEN} requests to the vault are open, which is all that is allowed"
            raise QuotaExceeded(detail, retry_after_s=1)
        question = {
            "do": do,
            "tenant": tenant,
            "integration": integration,
            "account": account,
            "values": dict(values or {}),
            "at_ms": now_ms(),
        }
        self._open[tenant] += 1
        try:
            return await self._asked(self._key, question)
        except (RedisError, OSError, TimeoutError):
            raise Unavailable(
                "the vault cannot be reached; whether anything was changed is not known",
                hint="GET /v1/credentials shows what there is",
            ) from None
        finally:
            self._open[tenant] -= 1
            if not self._open[tenant]:
                del self._open[tenant]

    async def _asked(self, key: SealingKey, question: dict[str, Any]) -> Any:
        ask_id, reply_key = new_id("ask"), secrets.token_bytes(KEY_BYTES)
        question["reply_key"] = base64.b64encode(reply_key).decode()
        waiting = keys.vault_questions(key.id)
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(
            keys.vault_question(ask_id), key.seal(question, ("ask", ask_id)), ex=WAIT_S + _LINGER_S
        )
        pipe.rpush(waiting, ask_id)
        pipe.ltrim(waiting, -MAX_WAITING, -1)
        pipe.expire(waiting, 2 * WAIT_S)
        await pipe.execute()
        found: Any = await cast(
            "Any", self._redis.blpop([keys.vault_answer(ask_id)], timeout=WAIT_S)
        )
        if found is None:
            raise _unanswered(await self._redis.getdel(keys.vault_question(ask_id)))
        try:
            answer = unseal(reply_key, found[1], ("answer", ask_id))
        except VaultDamaged:
            raise Broken("an answer from the vault does not open") from None
        return _value(answer)


def _unanswered(untaken: object) -> Unavailable:
    if untaken is not None:
        return Unavailable(
            "no worker with the vault's master key answered; nothing was changed",
            hint="is a worker running with MOONSAND_VAULT_KEYS_FILE?",
        )
    return Unavailable(
        "no answer came in time; whether anything was changed is not known",
        hint="GET /v1/credentials shows what there is",
    )


def _value(answer: Mapping[str, Any]) -> Any:
    problem = answer.get("problem")
    if problem is None:
        return answer["value"]
    raised = _RAISED.get(problem["code"])
    if raised is None:
        raise Broken("the vault of a tenant cannot be used")
    error = raised(problem["detail"], hint=problem["hint"])
    if isinstance(error, Invalid):
        error.pointer = problem["pointer"]
    raise error
