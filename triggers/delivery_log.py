"""
What became of callbacks: the deliveries of an endpoint, their attempts, and sending one again.

Runs in: api, scheduler. Trusts: Redis. Refuses: to show or repeat what is of another tenant.
May import: stdlib, pydantic, redis, core, runs, triggers.

A delivery is kept for 30 days after its end, an endpoint lists its newest 1,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from core.errors import Conflict, Invalid, NotFound
from core.ids import is_id
from runs.redis_scripts import load
from triggers.callbacks import DeliveryRecord
from triggers.kept import MAX_PAGE, redis_or_unavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

ID_PREFIX = "dlv"
#: Attempts that are kept of one delivery, the newest.
MAX_ATTEMPTS_KEPT = 20
_LIST_FIELDS = (
    *("tenant", "callback", "kind", "subject", "state", "why"),
    *("attempts", "at_ms", "next_ms", "log"),
)


class DeliveryLog:
    """The deliveries of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, tenant: str, delivery_id: str) -> DeliveryRecord:
        """
        Give a delivery of this tenant.

        Raises:
            NotFound: it has none with this id, or no longer. Unavailable: Redis does not answer.
        """
        (found,) = await self._read([self._checked(delivery_id)])
        if found["tenant"] != tenant.encode():
            raise _missing()
        return _shown(delivery_id, found)

    async def page(
        self, tenant: str, endpoint_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[DeliveryRecord], str | None]:
        """
        List deliveries of an endpoint, newest first, and give the cursor of the next page or None.

        Raises:
            Invalid: `cursor` is none of this list, or `limit` not 1 to `MAX_PAGE`.
            Unavailable: Redis does not answer.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise Invalid(f"limit must be 1 to {MAX_PAGE}, not {limit}", pointer="/limit")
        index, start = keys.deliveries(endpoint_id), 0
        async with redis_or_unavailable("the deliveries"):
            if cursor is not None:
                place = await cast("Any", self._redis.zrevrank(index, cursor[:64]))
                if place is None:
                    raise Invalid("not a cursor of this list", pointer="/cursor")
                start = place + 1
            ids = await cast("Any", self._redis.zrevrange(index, start, start + limit))
        names = [one.decode() for one in ids]
        rows = await self._read(names[:limit])
        found = [
            _shown(one, row)
            for one, row in zip(names[:limit], rows, strict=True)
            if row["tenant"] == tenant.encode()
        ]
        return found, names[limit - 1] if len(names) > limit else None

    async def replay(self, tenant: str, delivery_id: str) -> DeliveryRecord:
        """
        Send a delivery again at once, with the same id, and all attempts before it.

        Raises:
            NotFound: the tenant has none with this id, or no longer.
            Conflict: it is being sent, or its endpoint is gone or switched off.
            Unavailable: Redis did not confirm.
        """
        script = load("callback_replay")
        async with redis_or_unavailable("the deliveries"):
            done = await script.run_async(self._redis, [tenant, self._checked(delivery_id)])
        if done == 0:
            raise _missing()
        if done == -1:
            raise Conflict("it is being sent at this moment", hint="look at it again in a minute")
        if done == -2:
            raise Conflict("its endpoint was deleted: there is nowhere to send it")
        if done == -3:
            hint = "switch it on: PATCH /v1/callbacks/{id} with enabled true"
            raise Conflict("its endpoint is switched off", hint=hint)
        return await self.get(tenant, delivery_id)

    async def _read(self, ids: list[str]) -> list[dict[str, bytes | None]]:
        async with redis_or_unavailable("the deliveries"):
            pipe = cast("Any", self._redis.pipeline(transaction=False))
            for one in ids:
                pipe.hmget(keys.delivery(one), list(_LIST_FIELDS))
            rows = await pipe.execute() if ids else []
        return [dict(zip(_LIST_FIELDS, row, strict=True)) for row in rows]

    def _checked(self, delivery_id: str) -> str:
        if not is_id(delivery_id, ID_PREFIX):
            raise _missing()
        return delivery_id


def _shown(delivery_id: str, fields: Mapping[str, bytes | None]) -> DeliveryRecord:
    text = {name: value.decode() for name, value in fields.items() if value}
    endpoint, _, url = text["callback"].partition(" ")
    return DeliveryRecord.model_validate(
        {
            "id": delivery_id,
            "callback": endpoint,
            "url": url or None,
            "created_ms": text["at_ms"],
            "log": orjson.loads(text.get("log") or "[]"),
            **{name: text[name] for name in ("kind", "subject", "state", "attempts")},
            **{name: text.get(name) for name in ("why", "next_ms")},
        }
    )


def _missing() -> NotFound:
    return NotFound(
        "there is no delivery with this id", hint="GET /v1/callbacks/{id}/deliveries lists them"
    )
