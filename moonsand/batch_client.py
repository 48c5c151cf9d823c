"""
A client of batches: make one, fill it, watch it, read its results.

```python
async with moonsand.BatchClient("http://127.0.0.1:8420", key) as batches:
    batch = await batches.create({"script": "return input * 2", "concurrency": 16})
    batch = await batches.add_items(batch.id, 0, [{"input": 1}, {"input": 2}])
    async for line in batches.results(batch.id): ...
```
Errors are those of `core.errors`. A request is sent once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import httpx2
import orjson

from moonsand import exchange
from moonsand.async_asking import AsyncAsking
from moonsand.exchange import Ask
from moonsand.listing_asks import Page, listing
from runs.batches.model import BatchRecord, ItemResult

_NDJSON = {"Content-Type": "application/x-ndjson"}
_UPLOAD_S = 120.0
_RESULTS_S = 60.0


class BatchClient(AsyncAsking):
    """A client of batches for asyncio. Close it, or use it in `async with`."""

    async def create(
        self, terms: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> BatchRecord:
        """
        Begin a batch, to be filled with `add_items`; the same key again gives the same batch.

        Raises:
            Refused: the API does not take it. Unavailable: the API cannot be reached.
        """
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        read = BatchRecord.model_validate
        return await self._ask(Ask("POST", "/v1/batches", read, json=dict(terms), headers=headers))

    async def add_items(
        self,
        batch_id: str,
        first: int,
        items: Iterable[Mapping[str, Any] | bytes],
        *,
        last: bool = True,
    ) -> BatchRecord:
        """
        Add items, each an object or its JSON text; with `last` these were all, and it starts.

        Raises:
            Conflict: the batch has another number of items than `first`, or all already.
            Refused, Unavailable: as `create`; what was taken is told by `get`.
        """
        lines = (one if isinstance(one, bytes) else orjson.dumps(one) for one in items)
        body = b"\n".join(lines)
        params = {"from": str(first), "last": "true" if last else "false"}
        path = f"/v1/batches/{batch_id}/items"
        try:
            response = await self._http.post(
                path, params=params, content=body, headers=_NDJSON, timeout=_UPLOAD_S
            )
        except httpx2.TransportError as error:
            raise exchange.no_connection(self.url, error) from error
        return exchange.read_answer(Ask("POST", path, BatchRecord.model_validate), response)

    async def get(self, batch_id: str) -> BatchRecord:
        """Give one batch as it is now."""
        return await self._ask(Ask("GET", f"/v1/batches/{batch_id}", BatchRecord.model_validate))

    async def cancel(self, batch_id: str) -> BatchRecord:
        """Start nothing more of a batch, and cancel what is on its way."""
        path = f"/v1/batches/{batch_id}/cancel"
        return await self._ask(Ask("POST", path, BatchRecord.model_validate))

    async def page(self, *, cursor: str | None = None, limit: int = 50) -> Page[BatchRecord]:
        """Give some batches, newest first, and the cursor of the next page, None on the last."""
        return await self._ask(listing("/v1/batches", BatchRecord.model_validate, cursor, limit))

    async def results(self, batch_id: str, first: int = 0) -> AsyncIterator[ItemResult]:
        """
        Give a result for each item from `first` on, in the order of items, as they are now.

        Raises:
            NotFound: there is no such batch. Unavailable: the API cannot be reached, or was cut
                off before the last one.
        """
        async for line in self.result_lines(batch_id, first):
            yield ItemResult.model_validate_json(line)

    async def result_lines(self, batch_id: str, first: int = 0) -> AsyncIterator[str]:
        """Give the results as `results` does, each as its line of JSON."""
        path, params = f"/v1/batches/{batch_id}/results", {"from": str(first)}
        try:
            stream = self._http.stream("GET", path, params=params, timeout=_RESULTS_S)
            async with stream as response:
                if response.is_error:
                    await response.aread()
                    raise exchange.problem_of(response)
                async for line in _lines(response):
                    yield line
        except httpx2.TransportError as error:
            raise exchange.no_connection(self.url, error) from error


async def _lines(response: httpx2.Response) -> AsyncIterator[str]:
    # Not `aiter_lines`: it takes U+2028 and U+0085, which JSON leaves as they are, for ends too.
    rest = b""
    async for piece in response.aiter_bytes():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode()
    if rest:
        yield rest.decode()
