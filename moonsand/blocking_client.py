"""
The client of the HTTP API that blocks.

```python
with moonsand.Client("http://127.0.0.1:8420", key) as client:
    run = client.submit("return 1 + 1", wait_s=30)
    print(run.result)
```

Errors are those of `core.errors`, such as `NotFound`. A request is sent once; only event streams,
which change nothing, are taken up again where they broke off.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from core.errors import Unavailable
from moonsand import approval_asks, cancel_asks, exchange, plan_asks
from moonsand.async_asking import DEFAULT_URL, http_options
from moonsand.cancel_asks import CancelOptions
from moonsand.client import EVENT_SILENCE_S, RECONNECT_S, RECONNECTS, SubmitOptions
from moonsand.connector_client import MixpeekShaped
from moonsand.exchange import Ask, Event, Page
from moonsand.plan_asks import PlanState
from runs.model import Approval, CancelledRuns, Decision, RunRecord, RunRequest, State

T = TypeVar("T")


class Client(MixpeekShaped):
    """A client that blocks. Close it, or use it in `with`."""

    def __init__(self, url: str = DEFAULT_URL, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.Client(**http_options(self.url, key))

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
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> RunRecord:
        """
        Submit a script; wait up to `wait_s` (0 to 30) seconds for its end.

        With `check`, it is first checked without running it. With an `idempotency_key`, the same
        submission again gives the run of the first, for 24 hours.

        Raises:
            InFlight: the same submission has no answer yet. KeyReused: the key had another one.
            CheckFailed: the check found something; `findings` tells what.
            Refused: the API does not take it. Unavailable: the API cannot be reached.
        """
        request = RunRequest(script=script, **options)
        return self.submit_request(request, wait_s, check=check, idempotency_key=idempotency_key)

    def submit_request(
        self,
        request: RunRequest,
        wait_s: float = 0,
        *,
        check: bool = False,
        idempotency_key: str | None = None,
    ) -> RunRecord:
        """Submit a request that was built elsewhere, as `submit` does."""
        return self._ask(exchange.submit(request, wait_s, check=check, once=idempotency_key))

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
                if broken >= RECONNECTS:
                    raise exchange.no_connection(self.url, error) from error
            broken += 1
            time.sleep(RECONNECT_S * broken)

    def _stream(self, run_id: str, after: str | None) -> Iterator[Event]:
        headers = {"Last-Event-ID": after} if after else {}
        path = f"/v1/runs/{run_id}/events"
        with self._http.stream("GET", path, headers=headers, timeout=EVENT_SILENCE_S) as response:
            if not exchange.is_stream(response):
                response.read()
                raise exchange.problem_of(response)
            for event in httpx2.EventSource(response):
                yield exchange.read_event(event)

    def send(self, ask: Ask[T]) -> T:
        """Ask the API something that has no method here, as `moonsand.trigger_asks` makes it."""
        return self._ask(ask)

    def _ask(self, ask: Ask[T]) -> T:
        try:
            response = self._http.request(
                *(ask.method, ask.path),
                json=ask.json,
                params=ask.params,
                headers=ask.headers,
                timeout=ask.timeout_s,
            )
        except httpx2.TransportError as error:
            raise exchange.no_connection(self.url, error) from error
        return exchange.read_answer(ask, response)
