"""Batches in Redis, as the API and the command line see them: begin, fill, seal, show, cancel."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import orjson

from core import keys
from core.clock import Clock, now_ms
from core.errors import Conflict, Forbidden, Invalid, KeyReused, NotFound, QuotaExceeded, TooLarge
from core.ids import is_id, new_id
from runs.accept import Checked, check_request
from runs.acceptance import Terms
from runs.batches import model
from runs.batches.items import NO_ITEMS
from runs.batches.model import BatchRecord, BatchRequest, ItemTerms
from runs.batches.names import pack_names
from runs.batches.record import to_batch
from runs.ceilings import bounded, ceilings_of
from runs.redis_scripts import Arg, load
from runs.store import redis_errors
from tenancy.tenants import check_tenant

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_PAGE = 200
_RETRY_AFTER_S = 5
_HINT = "GET /v1/batches lists your batches"
_NO_SCRIPT = "return"  # where each item has its own


class TwiceInBatch(Invalid):
    """Two items of one batch have the same id; `index` is that of the later one."""

    def __init__(self, index: int, before: int) -> None:
        super().__init__(
            f"item {before} has this id already, so item {index} cannot have it: in one batch each"
            " id stands once",
            pointer=f"/items/{index}/id",
        )
        self.index = index


@dataclass(frozen=True, slots=True)
class Giver:
    """The API key that began a batch, and the tenant that it is kept under."""

    key_id: str
    owner: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch that was begun, now or earlier; `chain` is the digest of the items it has."""

    record: BatchRecord
    chain: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """
    Items that are appended in one step.

    `scripts` are digest and text of those that their items bring along, `names` the items' own ids;
    `size_bytes` is what counts against the limits of batches.
    """

    first: int
    count: int
    size_bytes: int
    chain: str
    chunk: bytes
    scripts: Sequence[tuple[str, bytes]]
    names: Sequence[str | None]


class BatchStore:
    """The accepting side's view of batches. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, terms: Terms | None = None, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._terms = terms or Terms()
        self._clock = clock

    async def begin(self, tenant: str, request: BatchRequest, *, by: Giver, key: str = "") -> Begun:
        """
        Begin a batch, without items. `key` is the client's idempotency key, if it sent one.

        Raises:
            Invalid: something in `request` is malformed.
            KeyReused: the key began a batch with other terms.
            Forbidden: it began a batch of another API key.
            QuotaExceeded: the tenant has `MAX_OPEN` batches that have not ended.
            Unavailable: Redis did not confirm; it may have been begun.
        """
        check_tenant(tenant)
        checked = check_request(
            request.run.model_copy(
                update={
                    "script": request.run.script or _NO_SCRIPT,
                    "script_ref": None,  # its text was looked up
                    "input": None,
                }
            )
        )
        with redis_errors():
            bounded(checked, await ceilings_of(self._redis, tenant, by.key_id))
        batch_id = new_id(model.ID_PREFIX, now_ms=self._clock())
        with redis_errors("the batch may or may not have been begun"):
            word, found = await load("batch_open").run_async(
                self._redis, self._open_args(batch_id, tenant, request, checked, by, key)
            )
        if word == b"full":
            raise QuotaExceeded(
                f"{model.MAX_OPEN} batches have not ended yet; no more are taken",
                retry_after_s=_RETRY_AFTER_S,
                hint="wait until some have ended, or cancel some",
            )
        if word == b"other":
            raise KeyReused(
                "this Idempotency-Key began a batch with other terms",
                hint="send the same terms again, or another key",
            )
        return await self._begun(tenant, found.decode(), by, again=word == b"known")

    async def begun_before(
        self, tenant: str, request: BatchRequest, *, by: Giver, key: str
    ) -> Begun | None:
        """
        Give the batch that `key` began when the same was asked; None: there is none.

        Raises:
            Forbidden: another API key began it. Unavailable: Redis does not answer.
        """
        with redis_errors():
            kept = cast("bytes | None", await self._redis.get(keys.batch_key(tenant, _digest(key))))
            batch_id = (kept or b"").decode()
            same = await cast(
                "Awaitable[bytes | None]",
                self._redis.hget(keys.batch(batch_id), "asked_sha256"),
            )
        if same != request.digest().encode():
            return None
        return await self._begun(tenant, batch_id, by, again=True)

    async def append(self, tenant: str, batch_id: str, piece: Piece) -> None:
        """
        Take items, all of `piece` or none.

        Raises:
            NotFound: there is no such batch, or it has expired.
            Conflict: it is sealed, or has another number of items than `piece.first`.
            TwiceInBatch, TooLarge, QuotaExceeded: what its items must not be.
            Unavailable: Redis did not confirm; they may have been taken.
        """
        args: list[Arg] = [batch_id, tenant, piece.first, piece.count, piece.size_bytes]
        args += [
            piece.chain,
            piece.chunk,
            pack_names(piece.names),
            model.MAX_ITEMS,
            model.MAX_BATCH_BYTES,
        ]
        args += [model.MAX_TENANT_BYTES, model.UPLOAD_TTL_S, len(piece.scripts)]
        args += [part for pair in piece.scripts for part in pair]
        for index, name in enumerate(piece.names, piece.first):
            args += [] if name is None else [name, index]
        with redis_errors("items may or may not have been taken; ask for the batch to know"):
            word, *more = await load("batch_append").run_async(self._redis, args)
        if word == b"twice":
            raise TwiceInBatch(*more)
        if word != b"taken":
            raise _refusal(word.decode(), *more)

    async def seal(self, tenant: str, batch_id: str, count: int) -> BatchRecord:
        """
        Say that a batch has all its `count` items: it starts.

        Raises:
            NotFound, Conflict: as `append`.
            Invalid: it has none, or not as many as it was begun with.
            Unavailable: Redis did not confirm; it may have started.
        """
        args: list[Arg] = [batch_id, tenant, count, self._clock()]
        with redis_errors("the batch may or may not have started; ask for it to know"):
            word, *more = await load("batch_seal").run_async(self._redis, args)
        if word != b"sealed":
            raise _refusal(word.decode(), *more)
        return await self.get(tenant, batch_id)

    async def forget(self, tenant: str, batch_id: str, key: str = "") -> None:
        """
        Forget a batch that is being uploaded; any other stays as it is.

        Raises:
            Unavailable: Redis did not confirm.
        """
        args: list[Arg] = [batch_id, tenant, _digest(key)]
        with redis_errors():
            await load("batch_forget").run_async(self._redis, args)

    async def get(self, tenant: str, batch_id: str) -> BatchRecord:
        """
        Give one batch as it is now.

        Raises:
            NotFound: this tenant has no such batch, or no longer.
            Unavailable: Redis does not answer.
        """
        return to_batch(batch_id, await self._fields(tenant, batch_id))

    async def resumed(self, tenant: str, batch_id: str, *, by: Giver) -> Begun:
        """
        Give a batch that is to be gone on with.

        Raises:
            NotFound, Unavailable: as `get`.
            Forbidden: another key has begun it.
        """
        return await self._begun(tenant, batch_id, by, again=True)

    async def terms_of(self, tenant: str, batch_id: str) -> ItemTerms:
        """
        Give what the items of a batch are checked against.

        Raises:
            NotFound, Unavailable: as `get`.
        """
        fields = await self._fields(tenant, batch_id)
        run = orjson.loads(fields[b"request"])
        has_script = bool(fields[b"script_sha256"])
        with redis_errors():
            ceilings = await ceilings_of(self._redis, tenant, fields[b"key_id"].decode())
        return ItemTerms(run["limits"], has_script, run.get("script_ref"), ceilings)

    async def page(
        self, tenant: str, *, cursor: str | None = None, limit: int = 50
    ) -> tuple[list[BatchRecord], str | None]:
        """
        List batches, newest first; give them and the cursor of the next page.

        Raises:
            Invalid: a cursor that is none, or a limit out of range.
            Unavailable: Redis does not answer.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise Invalid(f"limit must be 1 to {MAX_PAGE}, not {limit}", pointer="/limit")
        if cursor is not None and not is_id(cursor, model.ID_PREFIX):
            raise Invalid("not a cursor of this list", pointer="/cursor")
        with redis_errors():
            start = 0
            if cursor is not None:
                rank = cast(
                    "int | None",
                    await self._redis.zrevrank(keys.tenant_batches(tenant), cursor),
                )
                if rank is None:
                    return [], None
                start = rank + 1
            ids = cast(
                "list[bytes]",
                await self._redis.zrevrange(keys.tenant_batches(tenant), start, start + limit),
            )
            pipeline = self._redis.pipeline(transaction=False)
            for one in ids[:limit]:
                pipeline.hgetall(keys.batch(one.decode()))
            rows = await pipeline.execute()
        # The index outlives a batch that has expired.
        found = [
            to_batch(one.decode(), row) for one, row in zip(ids[:limit], rows, strict=True) if row
        ]
        return found, ids[limit - 1].decode() if len(ids) > limit else None

    async def cancel(self, tenant: str, batch_id: str) -> BatchRecord:
        """
        End a batch: nothing more of it starts, and what is on its way is cancelled.

        A batch that has ended stays as it is. Gives the batch as it is after that.

        Raises:
            NotFound: this tenant has no such batch.
            Unavailable: Redis did not confirm.
        """
        _check_id(batch_id)
        args: list[Arg] = [batch_id, tenant, self._clock(), "cancel"]
        with redis_errors("the batch may or may not have been cancelled"):
            found = await load("batch_cancel").run_async(self._redis, args)
        if found is None:
            raise no_such_batch()
        return await self.get(tenant, batch_id)

    # --- parts ---------------------------------------------------------------------------------

    async def _begun(self, tenant: str, batch_id: str, by: Giver, *, again: bool) -> Begun:
        fields = await self._fields(tenant, batch_id)
        record = to_batch(batch_id, fields)
        # Its runs may call what the key may that began it: nobody else puts items into it.
        if not record.status.terminal and fields[b"key_id"] != by.key_id.encode():
            raise Forbidden(
                "another API key of this tenant has begun the batch; only that one fills it",
                hint="use that key, or make a batch of your own",
            )
        return Begun(record, fields.get(b"chain", NO_ITEMS.encode()).decode(), again)

    async def _fields(self, tenant: str, batch_id: str) -> dict[bytes, bytes]:
        _check_id(batch_id)
        with redis_errors():
            fields = await cast(
                "Awaitable[dict[bytes, bytes]]", self._redis.hgetall(keys.batch(batch_id))
            )
        if fields.get(b"tenant") != tenant.encode():
            raise no_such_batch()
        return fields

    def _open_args(  # noqa: PLR0913, PLR0917 (what, whose, by whom)
        self,
        batch_id: str,
        tenant: str,
        request: BatchRequest,
        checked: Checked,
        by: Giver,
        key: str,
    ) -> list[Arg]:
        keep_s = max(self._terms.result_ttl_s, self._terms.failure_ttl_s)
        return [
            *(batch_id, tenant, self._clock(), model.UPLOAD_TTL_S, keep_s, model.MAX_OPEN),
            *(model.MAX_LISTED, _digest(key), request.digest(), request.script_sha256()),
            request.run.script,
            *("key_id", by.key_id, "key_owner", by.owner),
            *(() if checked.expires_ms is None else ("expires_ms", checked.expires_ms)),
            *(part for pair in request.fields().items() for part in pair),
        ]


def no_such_batch() -> NotFound:
    """Make the one answer to every id that this tenant may not see."""
    return NotFound("there is no batch with this id", hint=_HINT)


def _check_id(batch_id: str) -> None:
    if not is_id(batch_id, model.ID_PREFIX):
        raise no_such_batch()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() if key else ""


def _refusal(word: str, count: int = 0, used: int = 0) -> Exception:
    mib = 1 << 20
    if word == "stored":
        return QuotaExceeded(
            f"the quota stored_bytes of this tenant is used up: {used:,} of {count:,} bytes;"
            " these items were not taken",
            retry_after_s=_RETRY_AFTER_S,
            hint="wait until batches have ended and runs have expired, or erase some",
            quota="stored_bytes",
            whose="tenant",
            used=used,
            allowed=count,
        )
    known: dict[str, Exception] = {
        "gone": NotFound("the batch is no longer there", hint=_HINT),
        "sealed": Conflict(
            "the batch takes no more items: it has all, or was cancelled",
            hint="GET /v1/batches/{id} shows it",
        ),
        "moved": Conflict(
            f"the batch has {count} items; another request may be uploading it",
            hint="go on from there: POST /v1/batches/{id}/items?from=" + str(count),
        ),
        "many": TooLarge(f"a batch has at most {model.MAX_ITEMS} items", hint="make several"),
        "large": TooLarge(
            f"the items of a batch have at most {model.MAX_BATCH_BYTES // mib} MiB together",
            hint="make several",
        ),
        "crowded": QuotaExceeded(
            f"the items of all batches that have not ended have at most"
            f" {model.MAX_TENANT_BYTES // mib} MiB together",
            retry_after_s=_RETRY_AFTER_S,
            hint="wait until some have ended, or cancel some",
        ),
        "empty": Invalid("a batch has at least one item", pointer="/items"),
        "awaited": Invalid(
            f"the batch was to have {count} items, and has another number", pointer="/count"
        ),
    }
    return known[word]
