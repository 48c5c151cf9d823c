"""Stopping many runs, priorities and deadlines over HTTP, with the client, and from the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

import moonsand
from runs.model import CancelledRuns, Priority, State
from tenancy.scopes import Scope
from tests.api_server import ApiServer

PATH = "/v1/runs/cancel"


@pytest.fixture
def acme(api: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """A client of tenant acme, over an empty Redis."""
    with api.client("acme") as made:
        yield made


def submit(client: httpx2.Client, **body: Any) -> Any:
    """Submit a run and give its record."""
    answer = client.post("/v1/runs", json={"script": "return 1", **body})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_all_runs_of_the_tenant_are_stopped_and_no_others(
    acme: httpx2.Client, api: ApiServer
) -> None:
    """Another tenant's runs are not among all."""
    ours = [submit(acme)["id"] for _ in range(3)]
    with api.client("globex") as globex:
        theirs = submit(globex)["id"]

        answer = acme.post(PATH, json={"all": True})

        assert answer.status_code == 200
        assert answer.json() == {"ended": 3, "stopping": 0, "has_more": False}
        assert globex.get(f"/v1/runs/{theirs}").json()["status"] == "queued"
    assert {acme.get(f"/v1/runs/{one}").json()["status"] for one in ours} == {"cancelled"}


def test_what_is_named_narrows_it(acme: httpx2.Client) -> None:
    """Runs that are not all of what is named stay."""
    low, high = submit(acme, priority="low"), submit(acme, priority="high", name="n")

    assert acme.post(PATH, json={"state": ["running", "waiting"]}).json()["ended"] == 0
    assert acme.post(PATH, json={"priority": "high", "name": "other"}).json()["ended"] == 0
    assert acme.post(PATH, json={"priority": "high", "name": "n"}).json()["ended"] == 1
    assert acme.get(f"/v1/runs/{high['id']}").json()["reason"] == "cancelled"
    assert acme.get(f"/v1/runs/{low['id']}").json()["status"] == "queued"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/all"),
        ({"all": False}, "/all"),
        ({"all": True, "name": "x"}, "/all"),
        ({"all": 1}, "/all"),
        ({"state": []}, "/state"),
        ({"state": ["succeeded"]}, "/state/0"),
        ({"priority": "urgent"}, "/priority"),
        ({"name": ""}, "/name"),
        ({"tenant": "globex"}, "/tenant"),
        ([], ""),
    ],
)
def test_nothing_is_stopped_by_mistake(acme: httpx2.Client, body: Any, pointer: str) -> None:
    """Who names nothing must say `all`; what is not understood is refused and stops nothing."""
    run = submit(acme)

    answer = acme.post(PATH, json=body)

    assert answer.status_code == 422
    problem = answer.json()
    assert pointer in {problem.get("pointer"), *(one["pointer"] for one in problem["errors"])}
    assert acme.get(f"/v1/runs/{run['id']}").json()["status"] == "queued"


def test_a_misspelt_name_is_told_with_the_nearest(acme: httpx2.Client) -> None:
    """As everywhere else: what is known, and what was meant."""
    (wrong,) = acme.post(PATH, json={"priorty": "low"}).json()["errors"]

    assert (wrong["pointer"], wrong["nearest"]) == ("/priorty", "priority")
    assert "origin_id" in wrong["detail"]


def test_a_key_that_only_reads_stops_nothing(acme: httpx2.Client, api: ApiServer) -> None:
    """It takes the scope that submitting takes."""
    reads = {"Authorization": f"Bearer {api.new_key('acme', (Scope.READ,))}"}

    assert acme.post(PATH, json={"all": True}, headers=reads).status_code == 403


def test_a_record_shows_priority_and_deadline(acme: httpx2.Client) -> None:
    """As they were asked for; the deadline in milliseconds."""
    at = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)

    record = submit(acme, priority="low", expires_at=at.isoformat())

    assert (record["priority"], record["expires_ms"]) == ("low", int(at.timestamp() * 1000))
    assert acme.get(f"/v1/runs/{record['id']}").json() == record
    for wrong in ({"priority": "LOW"}, {"expires_at": "tomorrow"}, {"expires_at": 5}):
        assert acme.post("/v1/runs", json={"script": "return 1", **wrong}).status_code == 422


def test_the_client_and_the_command_stop_many(
    acme: httpx2.Client, api: ApiServer, tmp_path: Path
) -> None:
    """They say what the API says."""
    key = acme.headers["authorization"].removeprefix("Bearer ")
    with moonsand.Client(api.url, key) as client:
        for priority in (Priority.HIGH, Priority.LOW, Priority.LOW):
            client.submit("return 1", priority=priority)
        assert client.cancel_runs(state=[State.RUNNING]) == CancelledRuns()
        assert client.cancel_runs(priority=Priority.HIGH) == CancelledRuns(ended=1)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environ |= {"MOONSAND_URL": api.url, "MOONSAND_API_KEY": key}

    def cancel(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "moonsand", "cancel", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert cancel("--all", "--state", "queued") == (0, "2 cancelled, 0 asked to stop\n")
    assert cancel("--all") == (0, "0 cancelled, 0 asked to stop\n")
    assert cancel() == (2, "")
    assert cancel("--state", "queued") == (2, "")
