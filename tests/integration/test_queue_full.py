"""A tenant's queue is at its cap: more is refused, nothing else is touched, and it passes."""

from __future__ import annotations

import httpx2
import redis

from core import keys
from tests.api_server import ApiServer
from tests.deadline import Deadline
from tests.worker_processes import running_worker

QUICK = {"script": "return 1"}


def test_a_full_queue_refuses_until_there_is_room(redis_url: str, redis_sync: redis.Redis) -> None:
    """429 and when to come again, no key written; other tenants go on; a worker makes room."""
    with ApiServer(redis_url, queue_max=2) as api, api.client("acme") as client:
        accepted = [client.post("/v1/runs", json=QUICK).json()["id"] for _ in range(2)]
        before = redis_sync.dbsize()
        refused = client.post("/v1/runs", json=QUICK)
        assert redis_sync.dbsize() == before
        with api.client("other") as neighbour:
            assert neighbour.post("/v1/runs", json=QUICK).status_code == 202
        assert client.get("/v1/runs").status_code == 200
        with running_worker(redis_url):
            later = Deadline().until(lambda: submitted(client), "room", seconds=20)
            for run_id in [*accepted, later]:
                over = Deadline().until(lambda one=run_id: reason(client, one), "its end")  # type: ignore[misc]
                assert over == "ok"

    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert int(refused.headers["Retry-After"]) >= 1
    assert "2 of 2" in refused.json()["detail"]
    assert redis_sync.llen(f"rq:queue:{keys.queue('acme')}") == 0


def submitted(client: httpx2.Client) -> str | None:
    """Submit; give the id of what was accepted."""
    answer = client.post("/v1/runs", json=QUICK)
    return str(answer.json()["id"]) if answer.status_code == 202 else None


def reason(client: httpx2.Client, run_id: str) -> str | None:
    """Give the reason for which a run ended, None before."""
    found = client.get(f"/v1/runs/{run_id}").json().get("reason")
    return str(found) if found else None
