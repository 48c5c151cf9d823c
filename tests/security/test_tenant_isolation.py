"""Two tenants never see each other's runs, nor that there are any."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from core.ids import new_id
from core.redis_server import PrivateRedis
from tests.api_server import ApiServer


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API for all tests of this file."""
    with ApiServer(redis_server.url) as server:
        yield server


@pytest.fixture
def acme(api: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """Tenant acme, over an empty Redis."""
    with api.client("acme") as made:
        yield made


@pytest.fixture
def globex(api: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """Tenant globex, of the same Redis."""
    with api.client("globex") as made:
        yield made


def submit(client: httpx2.Client) -> str:
    """Submit a run and give its id."""
    return str(client.post("/v1/runs", json={"script": "return 1"}).json()["id"])


def told(answer: httpx2.Response) -> dict[str, Any]:
    """Give everything that an answer tells, but for what differs between any two requests."""
    body = answer.json()
    del body["request_id"]
    headers = dict(answer.headers)
    del headers["x-request-id"], headers["date"]
    return {"status": answer.status_code, "headers": headers, "body": body}


ROUTES = [
    ("GET", "/v1/runs/{}"),
    ("POST", "/v1/runs/{}/cancel"),
    ("GET", "/v1/runs/{}/events"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_foreign_run_answers_as_one_that_never_was(
    acme: httpx2.Client, globex: httpx2.Client, method: str, path: str
) -> None:
    """A foreign id, an unknown id and a malformed one answer the same, byte for byte."""
    foreign = globex.request(method, path.format(submit(acme)))
    unknown = globex.request(method, path.format(new_id("run")))
    malformed = globex.request(method, path.format("run_x"))
    assert foreign.status_code == 404
    assert told(foreign) == told(unknown) == told(malformed)
    assert "acme" not in foreign.text


def test_a_foreign_run_is_not_touched(acme: httpx2.Client, globex: httpx2.Client) -> None:
    """Trying to stop another tenant's run leaves it as it was."""
    run_id = submit(acme)
    before = acme.get(f"/v1/runs/{run_id}").json()
    assert globex.post(f"/v1/runs/{run_id}/cancel").status_code == 404
    assert acme.get(f"/v1/runs/{run_id}").json() == before


def test_lists_hold_own_runs_only(acme: httpx2.Client, globex: httpx2.Client) -> None:
    """Each tenant lists exactly its own runs."""
    ours = {submit(acme) for _ in range(3)}
    theirs = {submit(globex) for _ in range(2)}
    assert {run["id"] for run in acme.get("/v1/runs").json()["data"]} == ours
    assert {run["id"] for run in globex.get("/v1/runs").json()["data"]} == theirs


def test_a_foreign_cursor_gives_nothing(acme: httpx2.Client, globex: httpx2.Client) -> None:
    """Going on from another tenant's run gives what an unknown cursor gives."""
    submit(globex)
    foreign = globex.get(f"/v1/runs?cursor={submit(acme)}").json()
    unknown = globex.get(f"/v1/runs?cursor={new_id('run')}").json()
    assert foreign == unknown == {"data": [], "next_cursor": None, "has_more": False}


def test_a_revoked_tenant_has_nothing(api: ApiServer, acme: httpx2.Client) -> None:
    """A run is reached by its tenant's key alone: knowing its id is not enough."""
    run_id = submit(acme)
    with api.client() as bare:
        for method, path in ROUTES:
            assert bare.request(method, path.format(run_id)).status_code == 401


def test_the_time_of_an_answer_tells_nothing(acme: httpx2.Client, globex: httpx2.Client) -> None:
    """A foreign id takes the same way as an unknown one: at their best they take as long."""
    foreign_id = submit(acme)
    seconds: dict[str, list[float]] = {"foreign": [], "unknown": []}
    for _ in range(60):
        for kind, run_id in (("foreign", foreign_id), ("unknown", new_id("run"))):
            started = time.perf_counter()
            globex.get(f"/v1/runs/{run_id}")
            seconds[kind].append(time.perf_counter() - started)
    foreign, unknown = (min(times) for times in seconds.values())  # others only add
    assert 0.5 < foreign / unknown < 2
