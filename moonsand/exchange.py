"""What both clients say to the HTTP API, and how they read its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx2

from core.errors import (
    Broken,
    Conflict,
    Forbidden,
    InFlight,
    Invalid,
    KeyReused,
    NotFound,
    QuotaExceeded,
    Refused,
    ServiceError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from core.idempotency_key import HEADER, fault_of_key
from core.plans import Mode
from runs.model import Priority, RunRecord, RunRequest, State

T = TypeVar("T")

_REFUSALS: dict[str, type[Refused]] = {
    kind.code: kind
    for kind in (Conflict, Forbidden, KeyReused, NotFound, TooLarge, Unauthenticated)
}
_RETRY_S = 1


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[Any], T]
    json: Any = None
    params: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    timeout_s: float = 30.0


class CheckFailed(Invalid):
    """
    The script was checked and something in it is wrong; nothing was accepted.

    Each of `findings` is a finding as `moonsand check --json` gives it.
    """

    def __init__(
        self, detail: str, findings: Sequence[Mapping[str, Any]], *, hint: str | None = None
    ) -> None:
        super().__init__(detail, pointer="/script", hint=hint)
        keys = ("line", "column", "code")
        self.findings = [
            {key: one.get(key) for key in keys}
            | {"message": str(one.get("detail", "")), "hint": one.get("hint")}
            for one in findings
        ]


class NothingMore(Exception):
    """A stream of events was asked for more than there will ever be."""


@dataclass(frozen=True, slots=True)
class Event:
    """
    One event of a run: `type` is `state`, `log` or `call`.

    `id` is what to resume after. `data` is the event's JSON object.
    """

    id: str
    type: str
    data: Mapping[str, Any]

    @property
    def state(self) -> State | None:
        """The state that a `state` event tells of."""
        word = self.data.get("state") if self.type == "state" else None
        return State(word) if word in set(State) else None

    @property
    def last(self) -> bool:
        """Tell whether nothing follows."""
        return self.state is not None and self.state.terminal


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, newest first, and the cursor of the next page, None on the last."""

    runs: list[RunRecord]
    next_cursor: str | None


def submit(
    request: RunRequest, wait_s: float, *, check: bool = False, once: str | None = None
) -> Ask[RunRecord]:
    """
    Ask for a run; the answer comes when it ended or `wait_s` (0 to 30) passed.

    With `check`, a script in which something is found wrong is refused: `CheckFailed`. `once` is
    the request's idempotency key.
    """
    body = request.model_dump(exclude_none=True)
    body["input"] = request.input
    if request.script_ref is not None:
        del body["script"]
    if not request.force:
        del body["force"]
    if request.on_unknown == "fail":
        del body["on_unknown"]
    if request.mode is Mode.RUN:
        del body["mode"]
    if request.priority is Priority.NORMAL:
        del body["priority"]
    if wait_s:
        body["wait_s"] = wait_s
    if check:
        body["check"] = True
    read = RunRecord.model_validate
    headers = None if once is None else {HEADER: _checked_key(once)}
    return Ask("POST", "/v1/runs", read, json=body, headers=headers, timeout_s=30.0 + wait_s)


def _checked_key(key: str) -> str:
    wrong = fault_of_key(key)
    if wrong is not None:
        raise Invalid(f"the idempotency key: {wrong}")
    return key


def get(run_id: str) -> Ask[RunRecord]:
    """Ask for one run."""
    return Ask("GET", f"/v1/runs/{run_id}", RunRecord.model_validate)


def receipt(run_id: str) -> Ask[dict[str, Any] | None]:
    """Ask for the receipt of one run; None while there is none yet."""
    return Ask("GET", f"/v1/runs/{run_id}/receipt", _read_receipt)


def cancel(run_id: str) -> Ask[RunRecord]:
    """Ask for the end of one run."""
    return Ask("POST", f"/v1/runs/{run_id}/cancel", RunRecord.model_validate)


def bundle(run_id: str) -> Ask[bytes]:
    """Ask for one run in a file; the answer is not JSON, and is read as it comes."""
    return Ask("GET", f"/v1/runs/{run_id}/bundle", bytes)


def page(state: State | None, cursor: str | None, limit: int) -> Ask[Page]:
    """Ask for some runs, newest first."""
    given = {"state": state, "cursor": cursor, "limit": str(limit)}
    params = {name: value for name, value in given.items() if value is not None}
    return Ask("GET", "/v1/runs", _read_page, params=params)


def _read_receipt(found: Any) -> dict[str, Any] | None:
    if not isinstance(found, dict):
        raise ValueError("no receipt")  # noqa: TRY004 (who calls knows it as a bad answer)
    return None if found.get("status") == "pending" else found


def read_answer(ask: Ask[T], response: httpx2.Response) -> T:
    """
    Read a complete answer.

    Raises:
        ServiceError: the API's problem, as the error it stands for.
    """
    if response.is_error:
        raise problem_of(response)
    try:
        empty = response.status_code == httpx2.codes.NO_CONTENT
        return ask.read(None if empty else response.json())
    except ValueError:
        raise Broken("the answer is not what this version of the client understands") from None


def read_event(event: httpx2.ServerSentEvent) -> Event:
    """Read one server-sent event."""
    return Event(id=event.id, type=event.event, data=json.loads(event.data or "{}"))


def is_stream(response: httpx2.Response) -> bool:
    """
    Tell whether a stream of events follows.

    Raises:
        NothingMore: the run has ended and all its events were seen.
    """
    if response.status_code == httpx2.codes.NO_CONTENT:
        raise NothingMore
    return response.is_success


def problem_of(response: httpx2.Response) -> ServiceError:
    """Turn an error answer, whose body was read, into the error it stands for."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    code, hint = problem.get("code"), problem.get("hint")
    detail = str(problem.get("detail") or f"the server answered {response.status_code}")
    if code == Invalid.code:
        errors = problem.get("errors") or [{}]
        if any("line" in one for one in errors):
            return CheckFailed(detail, errors, hint=hint)
        return Invalid(detail, pointer=errors[0].get("pointer"), hint=hint)
    if code in {QuotaExceeded.code, InFlight.code}:
        return _later(response, problem, detail)
    if code in _REFUSALS:
        return _REFUSALS[code](detail, hint=hint)
    if response.status_code in {502, 503, 504}:
        return Unavailable(detail, hint=hint)
    return (Refused if response.is_client_error else Broken)(detail, hint=hint)


def _later(response: httpx2.Response, problem: dict[str, Any], detail: str) -> ServiceError:
    """Make the error for what may be asked again after some time."""
    retry_s, hint = _retry_after_s(response), problem.get("hint")
    if problem.get("code") == InFlight.code:
        return InFlight(detail, retry_after_s=retry_s, hint=hint)
    known = {name: problem.get(name) for name in ("quota", "whose", "used", "allowed")}
    return QuotaExceeded(detail, retry_after_s=retry_s, hint=hint, **known)


def no_connection(base_url: str, error: Exception) -> Unavailable:
    """Say that the API could not be reached; whether it took the request is not known."""
    kind = type(error).__name__
    return Unavailable(
        f"the API at {base_url} cannot be reached ({kind})",
        hint="is `moonsand serve` running there?",
    )


def _read_page(body: Any) -> Page:
    runs = [RunRecord.model_validate(one) for one in body["data"]]
    return Page(runs, body.get("next_cursor"))


def _retry_after_s(response: httpx2.Response) -> int:
    word = response.headers.get("retry-after", "")
    return int(word) if word.isdecimal() else _RETRY_S
