"""
The client of the HTTP API for asyncio, and what the blocking one shares with it.

Errors are those of `core.errors`, such as `NotFound`. A request is sent once; only event streams,
which change nothing, are taken up again where they broke off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypedDict, TypeVar, Unpack

import httpx2

from core.errors import Unavailable
from core.plans import Mode
from moonsand import approval_asks, cancel_asks, exchange, plan_asks
from moonsand.async_asking import AsyncAsking
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

RECONNECTS = 5
RECONNECT_S = 0.5
EVENT_SILENCE_S = 60.0  # the API sends a comment at least every 15 s


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


class AsyncClient(MixpeekShaped, AsyncAsking):
    """A client for asyncio. Close it, or use it in `async with`."""

    async def submit(
        self,
        script: str,
        *,
        wait_s: float = 0,
        check: bool = False,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> RunRecord:
        """Submit a script, as `Client.submit` does."""
        request = RunRequest(script=script, **options)
        return await self.submit_request(
            request, wait_s, check=check, idempotency_key=idempotency_key
        )

    async def submit_request(
        self,
        request: RunRequest,
        wait_s: float = 0,
        *,
        check: bool = False,
        idempotency_key: str | None = None,
    ) -> RunRecord:
        """Submit a request that was built elsewhere, as `Client.submit_request` does."""
        return await self._ask(exchange.submit(request, wait_s, check=check, once=idempotency_key))

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
                if broken >= RECONNECTS:
                    raise exchange.no_connection(self.url, error) from error
            broken += 1
            await asyncio.sleep(RECONNECT_S * broken)

    async def _stream(self, run_id: str, after: str | None) -> AsyncIterator[Event]:
        headers = {"Last-Event-ID": after} if after else {}
        path = f"/v1/runs/{run_id}/events"
        stream = self._http.stream("GET", path, headers=headers, timeout=EVENT_SILENCE_S)
        async with stream as response:
            if not exchange.is_stream(response):
                await response.aread()
                raise exchange.problem_of(response)
            async for event in httpx2.EventSource(response):
                yield exchange.read_event(event)

    async def send(self, ask: Ask[T]) -> T:
        """Ask the API something that has no method here, as `moonsand.trigger_asks` makes it."""
        return await self._ask(ask)
