"""`Idempotency-Key`: whatever is sent again, and wherever a process dies, there is one run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
import redis

from core import keys
from core.redis_server import PrivateRedis
from tests.api_server import ApiServer
from tests.deadline import Deadline

BODY = {"script": "return 1", "name": "once"}


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API for all tests of this file."""
    with ApiServer(redis_server.url) as server:
        yield server


@pytest.fixture
def client(api: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """A client of tenant acme, over an empty Redis."""
    with api.client("acme") as made:
        yield made


def send(client: httpx2.Client, key: str, **body: Any) -> httpx2.Response:
    """Submit a run with a key."""
    return client.post("/v1/runs", json=BODY | body, headers={"Idempotency-Key": key})


def runs_of(client: httpx2.Client) -> list[Any]:
    """Give the tenant's runs."""
    found: list[Any] = client.get("/v1/runs").json()["data"]
    return found


def test_the_same_request_gets_the_first_answer_marked(client: httpx2.Client) -> None:
    """One run; the second answer is the first to the byte, and says that it is."""
    first, second = send(client, "k1"), send(client, "k1")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert len(runs_of(client)) == 1


def test_another_request_with_the_key_is_refused(client: httpx2.Client) -> None:
    """A key stands for one request, to the byte."""
    send(client, "k1")
    other = send(client, "k1", name="other")
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(runs_of(client)) == 1


def test_the_same_request_in_flight_is_a_conflict(client: httpx2.Client, api: ApiServer) -> None:
    """As long as the first has no answer the second is told to come back, and then gets it."""
    answers: list[httpx2.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(send(client, "k1", wait_s=20)))
    waiting.start()
    with httpx2.Client(base_url=api.url, headers=client.headers, trust_env=False) as second:
        (run,) = Deadline().until(lambda: runs_of(second))
        refused = send(second, "k1", wait_s=20)
        assert (refused.status_code, refused.json()["code"]) == (409, "in_flight")
        assert int(refused.headers["retry-after"]) >= 1
        second.post(f"/v1/runs/{run['id']}/cancel")
        waiting.join(10)
        again = send(second, "k1", wait_s=20)
    assert answers[0].status_code == again.status_code == 200
    assert answers[0].json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"


def test_fifty_at_once_make_one_run(client: httpx2.Client) -> None:
    """However many come together, one run is made, and nobody is told of another."""
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: send(client, "k1"), range(50)))
    counted = Counter(one.status_code for one in answers)
    assert set(counted) <= {202, 409}
    assert len(runs_of(client)) == 1
    assert len({one.json()["id"] for one in answers if one.status_code == 202}) == 1
    fresh = [one for one in answers if one.status_code == 202]
    assert sum("idempotent-replayed" not in one.headers for one in fresh) == 1
