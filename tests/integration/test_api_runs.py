"""Runs over HTTP: submitted, waited for, shown, listed, stopped."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx2
import orjson
import pytest
import redis

from core import keys
from tenancy.scopes import Scope
from tests.api_server import ApiServer
from tests.deadline import Deadline


def submit(client: httpx2.Client, **body: Any) -> Any:
    """Submit a run and give its record."""
    answer = client.post("/v1/runs", json={"script": "return 1", **body})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_submit_answers_202_with_location_and_record(client: httpx2.Client) -> None:
    """An accepted run is queued, has an address, and that address shows the same record."""
    answer = client.post(
        "/v1/runs",
        json={
            "script": "return input",
            "input": {"a": [1, None]},
            "limits": {"cpu_ms": 100},
            "grants": ["mux:read"],
            "seed": 7,
            "name": "first",
        },
    )
    record = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/runs/{record['id']}"
    assert answer.headers["retry-after"] == "1"
    assert (record["status"], record["reason"], record["tenant"]) == ("queued", None, "acme")
    assert (record["name"], record["seed"], record["grants"]) == ("first", 7, ["mux:read"])
    assert record["limits"]["cpu_ms"] == 100
    assert client.get(answer.headers["location"]).json() == record


def test_the_input_is_stored_as_it_was_sent(client: httpx2.Client, redis_sync: redis.Redis) -> None:
    """Integers of 64 bits, empty lists and objects, and any character arrive unchanged."""
    sent = {"n": [2**63 - 1, -(2**63), 0.1], "e": [[], {}], "t": "\x00\u2028\U0001f600\\"}
    record = submit(client, input=sent)
    stored = redis_sync.hget(keys.run(record["id"]), "input")
    assert isinstance(stored, bytes)
    assert orjson.loads(stored) == sent


def test_wait_ends_with_the_run(client: httpx2.Client, api: ApiServer) -> None:
    """A waiting request is answered 200 as soon as the run ends, not when the wait is over."""
    answers: list[httpx2.Response] = []
    body = {"script": "return 1", "wait_s": 20}
    waiting = threading.Thread(target=lambda: answers.append(client.post("/v1/runs", json=body)))
    started = time.monotonic()
    waiting.start()
    with httpx2.Client(
        base_url=api.url, headers=client.headers, timeout=20, trust_env=False
    ) as second:
        (run,) = Deadline().until(lambda: second.get("/v1/runs").json()["data"])
        assert second.post(f"/v1/runs/{run['id']}/cancel").status_code == 200
    waiting.join(19)
    assert answers[0].status_code == 200
    assert answers[0].json()["status"] == "cancelled"
    assert "preference-applied" not in answers[0].headers
    assert time.monotonic() - started < 19


def test_wait_ends_without_the_run(client: httpx2.Client) -> None:
    """A run that does not end in time is answered 202 after the wait."""
    started = time.monotonic()
    answer = client.post("/v1/runs", json={"script": "return 1", "wait_s": 0.2})
    assert answer.status_code == 202
    assert 0.2 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("header", "applied"),
    [
        ("wait=1", "wait=1"),
        ("respond-async, wait=1", "wait=1"),
        ('return=minimal; x="y", WAIT = 1', "wait=1"),
        ("wait=0", "wait=0"),
        ("wait=-1", None),
        ("wait=x", None),
        ("waiting=1", None),
        ("wait=1.5", None),
        ("await=1", None),
    ],
)
def test_prefer_is_honoured_or_ignored(
    client: httpx2.Client, header: str, applied: str | None
) -> None:
    """`Prefer: wait=N` is applied and said so; what cannot be understood is ignored."""
    answer = client.post("/v1/runs", json={"script": "return 1"}, headers={"Prefer": header})
    assert answer.status_code == 202
    assert answer.headers.get("preference-applied") == applied


def test_wait_s_wins_over_prefer(client: httpx2.Client) -> None:
    """With both, the body's wait counts and the header is not said to be applied."""
    body = {"script": "return 1", "wait_s": 0}
    answer = client.post("/v1/runs", json=body, headers={"Prefer": "wait=20"})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


def test_pages_follow_each_other_without_gaps(client: httpx2.Client) -> None:
    """Following `Link` gives every run once, newest first, and then ends."""
    made = [submit(client, name=f"n{index}")["id"] for index in range(5)]
    seen, url = [], "/v1/runs?limit=2"
    while url:
        answer = client.get(url)
        page = answer.json()
        seen += [run["id"] for run in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        link = answer.links.get("next")
        assert (link is not None) == page["has_more"]
        url = link["url"] if link else ""
    assert sorted(seen) == sorted(made)
    assert len(seen) == 5


def test_a_list_filters_by_state_and_is_short(client: httpx2.Client) -> None:
    """`state` filters, and records in a list leave out what may be long."""
    kept, ended = submit(client)["id"], submit(client)["id"]
    client.post(f"/v1/runs/{ended}/cancel")
    (queued,) = client.get("/v1/runs?state=queued").json()["data"]
    (cancelled,) = client.get("/v1/runs?state=cancelled").json()["data"]
    assert (queued["id"], cancelled["id"]) == (kept, ended)
    assert not {"result", "output", "calls"} & set(queued)


def test_cancel_is_idempotent(client: httpx2.Client) -> None:
    """Stopping a queued run ends it at once; asked again, the same record comes back."""
    run_id = submit(client)["id"]
    first = client.post(f"/v1/runs/{run_id}/cancel")
    second = client.post(f"/v1/runs/{run_id}/cancel")
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["reason"] == "cancelled"
    assert second.json() == first.json()


def test_scopes_hold(api: ApiServer, redis_url: str) -> None:
    """A key that may only read does not submit or cancel, and one that may only write not read."""
    with api.client() as bare:
        reads = {"Authorization": f"Bearer {api.new_key('acme', (Scope.READ,))}"}
        writes = {"Authorization": f"Bearer {api.new_key('acme', (Scope.WRITE,))}"}
        body = {"script": "return 1"}
        run_id = bare.post("/v1/runs", json=body, headers=writes).json()["id"]
        assert bare.get(f"/v1/runs/{run_id}", headers=reads).status_code == 200
        for refused in (
            bare.post("/v1/runs", json=body, headers=reads),
            bare.post(f"/v1/runs/{run_id}/cancel", headers=reads),
            bare.get("/v1/runs", headers=writes),
            bare.get(f"/v1/runs/{run_id}", headers=writes),
            bare.get(f"/v1/runs/{run_id}/events", headers=writes),
        ):
            assert refused.status_code == 403
            assert refused.json()["code"] == "forbidden"


def test_health_tells_what_is_missing(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is healthy by itself; the service is not ready without a worker."""
    monkeypatch.setattr("api.health.WITHIN_S", 15)
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert checks["redis"]["ok"]
    assert (checks["workers"]["ok"], checks["workers"]["detail"]) == (False, "0 alive")
    assert "moonsand worker" in checks["workers"]["hint"]
