"""From an HTTP request to a jailed run and back, with a real worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from core.redis_client import connect
from core.redis_server import PrivateRedis
from tests.api_server import ApiServer
from tests.deadline import Deadline

pytestmark = pytest.mark.jail


@pytest.fixture(scope="module")
def client(redis_server: PrivateRedis) -> Iterator[httpx2.Client]:
    """A client of a service with one real worker, over a Redis that starts empty."""
    with connect(redis_server.url) as redis:
        redis.flushall()
    with ApiServer(redis_server.url) as api, api.client("acme") as made:
        worker = subprocess.Popen(
            [sys.executable, "-m", "moonsand", "worker", "--slots", "2"],
            env={"PATH": os.environ["PATH"], "REDIS_URL": redis_server.url},
        )
        try:
            Deadline().until(
                lambda: made.get("/readyz").status_code == 200, "readiness", seconds=45
            )
            yield made
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0


def run(client: httpx2.Client, script: str, **body: Any) -> Any:
    """Run a script to its end and give its record."""
    answer = client.post("/v1/runs", json={"script": script, "wait_s": 20, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_result_comes_back_in_the_same_request(client: httpx2.Client) -> None:
    """With a wait the answer is the result, and the run's address shows the same."""
    record = run(client, "print('hi') return 1 + 1")
    assert (record["status"], record["reason"], record["result"]) == ("succeeded", "ok", 2)
    assert record["output"] == "hi\n"
    assert record["usage"]["instructions"] > 0
    assert client.get(f"/v1/runs/{record['id']}").json() == record


def test_values_survive_the_whole_way(client: httpx2.Client) -> None:
    """Any JSON value comes back from a script as it was sent."""
    sent = {
        "n": [2**63 - 1, -(2**63), 0.1, -0.5, 1e300],
        "empty": [[], {}],
        "text": '\x00\u2028\U0001f600\\"',
        "deep": [[[[[[[[[[1]]]]]]]]]],
        "b": [True, False],
    }
    assert run(client, "return input", input=sent)["result"] == sent


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("error('no')", "script_error"),
        ("x = = 1", "syntax_error"),
        ("while true do end", "instruction_limit"),
        ("return print", "invalid_result"),
    ],
)
def test_a_script_that_fails_is_an_answer(client: httpx2.Client, script: str, reason: str) -> None:
    """A failing script is not an error of the API: it is a record with a reason and words."""
    record = run(client, script, limits={"instructions": 1_000_000})
    assert (record["status"], record["reason"], record["result"]) == ("failed", reason, None)
    assert record["error"]["message"]


def test_a_large_result_is_whole(client: httpx2.Client) -> None:
    """A result of megabytes arrives unchanged, in the record and not in a list."""
    script = "local t = {} for i = 1, 100000 do t[i] = {i, 'text'} end return t"
    limits = {"result_bytes": 8 * 1024 * 1024, "memory_bytes": 256 * 1024 * 1024}
    record = run(client, script, limits=limits)
    assert record["error"] is None
    assert len(record["result"]) == 100_000
    assert record["result"][-1] == [100_000, "text"]
    assert len(client.get("/v1/runs?limit=200").content) < 100_000


def test_a_running_run_is_watched_and_stopped(client: httpx2.Client) -> None:
    """Its output is seen while it runs, and stopping it ends it as cancelled."""
    limits = {"instructions": 2_000_000_000, "cpu_ms": 60_000}
    body = {"script": "print('begun') while true do end", "limits": limits}
    run_id = client.post("/v1/runs", json=body).json()["id"]
    events: list[tuple[str, Any]] = []
    with client.stream("GET", f"/v1/runs/{run_id}/events") as stream:
        for event in httpx2.EventSource(stream):
            events.append((event.event, json.loads(event.data)))
            if event.event == "log":
                with httpx2.Client(
                    base_url=client.base_url, headers=client.headers, trust_env=False
                ) as second:
                    answer = second.post(f"/v1/runs/{run_id}/cancel")
                    # The worker may have stopped it before the answer is written.
                    assert (answer.status_code, answer.json()["status"]) in {
                        (202, "running"),
                        (200, "cancelled"),
                    }
    kinds = [data.get("state") or data.get("text") for _, data in events]
    assert kinds == ["queued", "running", "begun\n", "cancelled"]
    stopped = client.post(f"/v1/runs/{run_id}/cancel")
    assert (stopped.status_code, stopped.json()["reason"]) == (200, "cancelled")
