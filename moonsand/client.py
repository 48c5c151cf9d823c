"""
Clients of the HTTP API: `Client` and, with the same methods, `AsyncClient`.

```python
with moonsand.Client("http://127.0.0.1:8420", key) as client:
    run = client.submit("return 1 + 1", wait_s=30)
    print(run.result)
```

Errors are those of `core.errors`, such as `NotFound`. A request is sent once; only event streams,
which change nothing, are taken up again where they broke off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

import httpx2

from core.errors import Unavailable
from core.plans import Mode
from moonsand import approval_asks, cancel_asks, exchange, plan_asks
from moonsand.cancel_asks import CancelOptions
from moonsand.connector_client import MixpeekShaped
from moonsand.exchange import Ask, Event, Page
from moonsand.plan_asks import PlanState
from runs.model import (
    Approval,
    CancelledRuns,
    Decision,
    OnUnknown,
    Priority,
    RunRecord,
    RunRequest,
    State,
)

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8420"

_RECONNECTS = 5
_RECONNECT_S = 0.5
_EVENT_SILENCE_S = 60.0  # the API sends a comment at least every 15 s


class _Options(MixpeekShaped):
    """What both clients are made of."""

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"User-Agent": "moonsand"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        # No proxy from the environment: a key for a loopback address must not leave the machine.
        self._http_options: dict[str, Any] = {
            "base_url": self.url,
            "headers": headers,
            "trust_env": False,
        }


class SubmitOptions(TypedDict, total=False):
    """What a submission may say beside the script; `RunRequest` tells what each means."""

    input: Any
    limits: dict[str, int]
    grants: list[str | dict[str, Any]] | None
    force: bool
    on_unknown: OnUnknown
    mode: Mode
    seed: int | None
    name: str
    priority: Priority
    expires_at: str | None


class Client(_Options):
    """A client that blocks. Close it, or use it in `with`."""

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None) -> None:
        super().__init__(url, key)
        self._http = httpx2.Client(**self._http_options)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Give the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def submit(
        self,
        script: str,
        *,
        wait_s: float = 0,
        check: bool = False,
        **options: Unpack[SubmitOptions],
    ) -> RunRecord:
        """
        Submit a script; wait up to `wait_s` (0 to 30) seconds for its end.

        With `check`, it is first checked without running it.

        Raises:
            CheckFailed: the check found something; `findings` tells what.
            Refused: the API does not take it. Unavailable: the API cannot be reached.
        """
        return self.submit_request(RunRequest(script=script, **options), wait_s, check=check)

    def submit_request(
        self, request: RunRequest, wait_s: float = 0, *, check: bool = False
    ) -> RunRecord:
        """Submit a request that was built elsewhere, as `submit` does."""
        return self._ask(exchange.submit(request, wait_s, check=check))

    def get(self, run_id: str) -> RunRecord:
        """Give one run as it is now."""
        return self._ask(exchange.get(run_id))

    def receipt(self, run_id: str) -> dict[str, Any] | None:
        """
        Give the receipt of a run; None as long as its end is not sequenced and signed.

        `ledger.receipts.check_receipt` checks it. Raises: NotFound, Unavailable.
        """
        return self._ask(exchange.receipt(run_id))

    def cancel(self, run_id: str) -> RunRecord:
        """Ask for the end of a run; it may end otherwise before the request arrives."""
        return self._ask(exchange.cancel(run_id))

    def cancel_runs(self, **options: Unpack[CancelOptions]) -> CancelledRuns:
        """Ask for the end of all runs of the tenant, or of those that are all of `options`."""
        return self._ask(cancel_asks.cancel_runs(options))

    def plan(self, run_id: str) -> PlanState:
        """Give the plan of a run that was to plan."""
        return self._ask(plan_asks.get_plan(run_id))

    def approvals(self, run_id: str | None = None) -> list[Approval]:
        """Give all that a run has asked; without one, what all runs ask now, the oldest first."""
        found, more = self._ask(approval_asks.approvals(run_id))
        while more is not None:
            part, more = self._ask(more)
            found += part
        return found

    def answer(
        self, run_id: str, n: int, decision: Decision, *, comment: str | None = None
    ) -> Approval:
        """Answer what a run asks; the same again changes nothing, another raises Conflict."""
        return self._ask(approval_asks.answer(run_id, n, decision, comment))

    def approve_plan(self, run_id: str, digest: str, *, comment: str | None = None) -> PlanState:
        """Approve the plan of a run that has this digest; a plan is approved once."""
        return self._ask(plan_asks.approve_plan(run_id, digest, comment))

    def apply(
        self,
        run_id: str,
        *,
        digest: str | None = None,
        idempotency_key: str | None = None,
        wait_s: float = 0,
    ) -> RunRecord:
        """
        Start the run that applies the approved plan of `run_id`; a plan is applied once.

        The same `idempotency_key` again gives the run that it started.
        """
        return self._ask(plan_asks.apply_plan(run_id, digest, idempotency_key, wait_s))

    def list(
        self, *, state: State | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """Give some runs, newest first."""
        return self._ask(exchange.page(state, cursor, limit))

    def bundle(self, run_id: str) -> Iterator[bytes]:
        """
        Give an ended run as a bundle, piece by piece.

        Raises:
            Conflict: it has not ended. Unavailable: the API cannot be reached, or was cut off.
        """
        ask = exchange.bundle(run_id)
        try:
            with self._http.stream(ask.method, ask.path, timeout=ask.timeout_s) as response:
                if response.is_error:
                    response.read()
                    raise exchange.problem_of(response)
                yield from response.iter_bytes()
        except httpx2.TransportError as error:
            raise exchange.no_connection(self.url, error) from error

    def wait(self, run_id: str) -> RunRecord:
        """Wait until a run has ended and give it."""
        for _ in self.events(run_id):
            pass
        return self.get(run_id)

    def events(self, run_id: str, *, after: str | None = None) -> Iterator[Event]:
        """
        Give the events of a run as they happen, from the first or from `after`, until it ends.

        Raises:
            Unavailable: the stream broke off and could not be taken up again.
        """
        broken = 0
        while True:
            try:
                for event in self._stream(run_id, after):
                    after, broken = event.id or after, 0
                    yield event
                    if event.last:
                        return
            except exchange.NothingMore:
                return
            except (httpx2.TransportError, Unavailable) as error:
                if broken >= _RECONNECTS:
                    raise exchange.no_connection(self.url, error) from error
            broken += 1
            time.sleep(_RECONNECT_S * broken)

    def _stream(self, run_id: str, after: str | None) -> Iterator[Event]:
        headers = {"Last-Event-ID": after} if after else {}
        path = f"/v1/runs/{run_id}/events"
        with self._http.stream("GET", path, headers=headers, timeout=_EVENT_SILENCE_S) as response:
            if not exchange.is_stream(response):
                response.read()
                raise exchange.problem_of(response)
            for event in httpx2.EventSource(response):
                yield exchange.read_event(event)

    def _ask(self, ask: Ask[T]) -> T:
        try:
            response = self._http.request(
                ask.method, ask.path, json=ask.json, params=ask.params, timeout=ask.timeout_s
            )
        except httpx2.TransportError as error:
            raise exchange.no_connection(self.url, error) from error
        return exchange.read_answer(ask, response)


class AsyncClient(_Options):
    """A client for asyncio. Close it, or use it in `async with`."""

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None) -> None:
        super().__init__(url, key)
        self._http = httpx2.AsyncClient(**self._http_options)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Give the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def submit(
        self,
        script: str,
        *,
        wait_s: float = 0,
        check: bool = False,
        **options: Unpack[SubmitOptions],
    ) -> RunRecord:
        """Submit a script, as `Client.submit` does."""
        return await self.submit_request(RunRequest(script=script, **options), wait_s, check=check)

    async def submit_request(
        self, request: RunRequest, wait_s: float = 0, *, check: bool = False
    ) -> RunRecord:
        """Submit a request that was built elsewhere, as `Client.submit_request` does."""
        return await self._ask(exchange.submit(request, wait_s, check=check))

    async def get(self, run_id: str) -> RunRecord:
        """Give one run as it is now."""
        return await self._ask(exchange.get(run_id))

    async def receipt(self, run_id: str) -> dict[str, Any] | None:
        """Give the receipt of a run, as `Client.receipt` does."""
        return await self._ask(exchange.receipt(run_id))

    async def cancel(self, run_id: str) -> RunRecord:
        """Ask for the end of a run, as `Client.cancel` does."""
        return await self._ask(exchange.cancel(run_id))

    async def cancel_runs(self, **options: Unpack[CancelOptions]) -> CancelledRuns:
        """Ask for the end of many runs, as `Client.cancel_runs` does."""
        return await self._ask(cancel_asks.cancel_runs(options))

    async def plan(self, run_id: str) -> PlanState:
        """Give the plan of a run that was to plan."""
        return await self._ask(plan_asks.get_plan(run_id))

    async def approvals(self, run_id: str | None = None) -> list[Approval]:
        """Give all that a run has asked; without one, what all runs ask now, the oldest first."""
        found, more = await self._ask(approval_asks.approvals(run_id))
        while more is not None:
            part, more = await self._ask(more)
            found += part
        return found

    async def answer(
        self, run_id: str, n: int, decision: Decision, *, comment: str | None = None
    ) -> Approval:
        """Answer what a run asks; the same again changes nothing, another raises Conflict."""
        return await self._ask(approval_asks.answer(run_id, n, decision, comment))

    async def approve_plan(
        self, run_id: str, digest: str, *, comment: str | None = None
    ) -> PlanState:
        """Approve the plan of a run that has this digest; a plan is approved once."""
        return await self._ask(plan_asks.approve_plan(run_id, digest, comment))

    async def apply(
        self,
        run_id: str,
        *,
        digest: str | None = None,
        idempotency_key: str | None = None,
        wait_s: float = 0,
    ) -> RunRecord:
        """
        Start the run that applies the approved plan of `run_id`; a plan is applied once.

        The same `idempotency_key` again gives the run that it started.
        """
        return await self._ask(plan_asks.apply_plan(run_id, digest, idempotency_key, wait_s))

    async def list(
        self, *, state: State | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """Give some runs, newest first."""
        return await self._ask(exchange.page(state, cursor, limit))

    async def bundle(self, run_id: str) -> AsyncIterator[bytes]:
        """Give an ended run as a bundle, as `Client.bundle` does."""
        ask = exchange.bundle(run_id)
        try:
            async with self._http.stream(ask.method, ask.path, timeout=ask.timeout_s) as response:
                if response.is_error:
                    await response.aread()
                    raise exchange.problem_of(response)
                async for piece in response.aiter_bytes():
                    yield piece
        except httpx2.TransportError as error:
            raise exchange.no_connection(self.url, error) from error

    async def wait(self, run_id: str) -> RunRecord:
        """Wait until a run has ended and give it."""
        async for _ in self.events(run_id):
            pass
        return await self.get(run_id)

    async def events(self, run_id: str, *, after: str | None = None) -> AsyncIterator[Event]:
        """Give the events of a run until it ends, as `Client.events` does."""
        broken = 0
        while True:
            try:
                async for event in self._stream(run_id, after):
                    after, broken = event.id or after, 0
                    yield event
                    if event.last:
                        return
            except exchange.NothingMore:
                return
            except (httpx2.TransportError, Unavailable) as error:
                if broken >= _RECONNECTS:
                    raise exchange.no_connection(self.url, error) from error
            broken += 1
            await asyncio.sleep(_RECONNECT_S * broken)

    async def _stream(self, run_id: str, after: str | None) -> AsyncIterator[Event]:
        headers = {"Last-Event-ID": after} if after else {}
        path = f"/v1/runs/{run_id}/events"
        stream = self._http.stream("GET", path, headers=headers, timeout=_EVENT_SILENCE_S)
        async with stream as response:
            if not exchange.is_stream(response):
                await response.aread()
                raise exchange.problem_of(response)
            async for event in httpx2.EventSource(response):
                yield exchange.read_event(event)

    async def _ask(self, ask: Ask[T]) -> T:
        try:
            response = await self._http.request(
                ask.method, ask.path, json=ask.json, params=ask.params, timeout=ask.timeout_s
            )
        except httpx2.TransportError as error:
            raise exchange.no_connection(self.url, error) from error
        return exchange.read_answer(ask, response)
