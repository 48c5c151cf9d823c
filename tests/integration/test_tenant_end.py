"""Suspending and deleting a tenant of a real service: nothing is started, nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from core import keys
from core.redis_client import connect
from core.redis_server import PrivateRedis
from tenancy.master_keys import new_line
from tenancy.scopes import Role, Scope
from tenancy.tenants import OPERATOR
from tests.api_server import ApiServer
from tests.command import environment, moonsand
from tests.deadline import Deadline
from tests.integration.test_sequencer_process import sequencer
from tests.worker_processes import running_worker

pytestmark = [pytest.mark.jail, pytest.mark.timeout(120)]
OF_OPERATOR = (*Role.SERVICE.scopes, Scope.WRITE)
LONG = "while true do end"
BIG = {"script": LONG, "limits": {"cpu_ms": 60_000, "instructions": 2_000_000_000}}


@dataclass
class Service:
    """A whole service, an operator's client, and a tenant's administrator."""

    redis_url: str
    operator: httpx2.Client
    admin: httpx2.Client
    other: httpx2.Client
    directory: Path


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with one worker that lets a tenant have one run at once."""
    masters = new_line("one")
    (tmp_path / "redis").mkdir()
    with (
        PrivateRedis(tmp_path / "redis") as server,
        sequencer(server.url, tmp_path),
        ApiServer(server.url, ledger_dir=tmp_path / "ledger", trigger_keys=masters) as api,
        api.client(Authorization=f"Bearer {api.new_key(OPERATOR, OF_OPERATOR)}") as asks,
        api.client(Authorization=f"Bearer {api.new_key('acme', Role.ADMIN.scopes)}") as admin,
        api.client("globex") as other,
        running_worker(server.url, slots=2, tenant_slots=1),
    ):
        yield Service(server.url, asks, admin, other, tmp_path)


def state_of(client: redis.Redis, run: str) -> str:
    """Give the state of a run by its record."""
    found: Any = client.hget(keys.run(run), "state")
    return "" if found is None else found.decode()


def submit(client: httpx2.Client, **body: Any) -> str:
    """Start a run; give its id."""
    answer = client.post("/v1/runs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_nothing_of_a_suspended_tenant_is_started(service: Service) -> None:
    """What is queued waits while others are served, and starts when the suspension ends."""
    operator, admin = service.operator, service.admin
    with connect(service.redis_url) as client:
        running = submit(admin, **BIG)
        reaches(client, running, "running")
        queued = [submit(admin, script="return 1") for _ in range(3)]
        assert operator.post("/v1/tenants/acme/suspend").status_code == 200
        assert admin.post("/v1/runs", json={"script": "return 1"}).status_code == 403
        assert admin.post(f"/v1/runs/{running}/cancel").status_code == 403
        acting = {"Moonsand-Tenant": "acme"}
        # 200 if the worker has stopped it before the answer is written.
        assert operator.post(f"/v1/runs/{running}/cancel", headers=acting).status_code in {200, 202}
        refused = operator.post("/v1/runs", headers=acting, json={"script": "return 1"})
        assert (refused.status_code, "suspended" in refused.json()["detail"]) == (403, True)
        reaches(client, running, "cancelled")
        # Its place is free now, and the worker serves others.
        for _ in range(5):
            other = submit(service.other, script="return 1")
            reaches(client, other, "succeeded")
        assert [state_of(client, run) for run in queued] == ["queued"] * 3
        operator.post("/v1/tenants/acme/resume")
        for run in queued:
            reaches(client, run, "succeeded")


def reaches(client: redis.Redis, run: str, state: str) -> None:
    """Wait until a run is in a state."""
    Deadline().until(lambda: state_of(client, run) == state, f"a run that is {state}", seconds=20)


def env(service: Service) -> dict[str, str]:
    """Give the environment of commands that speak to this Redis and archive."""
    return environment(
        service.directory / "home",
        REDIS_URL=service.redis_url,
        MOONSAND_LEDGER_DIR=str(service.directory / "ledger"),
    )


def test_a_deleted_tenant_leaves_nothing_that_starts_or_opens(service: Service) -> None:
    """Triggers, scripts, batches, runs and keys are gone, whatever there was, and payloads too."""
    admin = service.admin
    with connect(service.redis_url) as client:
        for path, body in (
            ("scripts", {"name": "mine", "script": "return 1"}),
            ("schedules", {"script_ref": "mine", "every_s": 3_600}),
            ("callbacks", {"name": "c", "url": "https://example.com/x"}),
            ("hooks", {"name": "h", "script_ref": "mine", "scheme": "github"}),
        ):
            made = admin.post(f"/v1/{path}", json=body)
            assert made.status_code in {200, 201}, made.text
        running = submit(admin, **BIG)
        reaches(client, running, "running")
        queued = submit(admin, script="return 1")
        batch = admin.post("/v1/batches", json={"items": [{"script": "return 1"}] * 20})
        assert batch.status_code in {200, 201, 202}, batch.text
        assert service.operator.delete("/v1/tenants/acme").status_code == 409
        assert state_of(client, queued) == "queued"
        service.operator.post("/v1/tenants/acme/suspend")
        answer = service.operator.delete("/v1/tenants/acme")
        assert (answer.status_code, answer.json()["state"]) == (200, "deleted")
        for run in (running, queued):
            reaches(client, run, "cancelled")
        assert admin.get("/v1/runs").status_code == 401
        for name in ("schedules", "hooks", "callbacks", "saved", "connections", "syncs", "keys"):
            assert client.exists(f"ms:{name}:acme") == 0, name

        def erased() -> bool:
            done = moonsand("tenants", "delete", "acme", "--erase", "--yes", env=env(service))
            assert done.returncode in {0, 1}, done.stderr
            return done.returncode == 0

        Deadline().until(erased, "the erasure", seconds=40)
        assert client.exists(keys.run(running), keys.run(queued), keys.tape(running)) == 0
    wanted = {"tenant.suspended", "tenant.deleted", "payloads.deleted"}

    def kinds() -> set[str]:
        told = moonsand("audit", "query", "--tenant", "acme", "--json", env=env(service)).stdout
        return {json.loads(line)["entry"]["kind"] for line in told.splitlines()}

    Deadline().until(lambda: wanted <= kinds(), "the entries")
    assert moonsand("tenants", "show", "acme", env=env(service)).stdout.split()[3] == "deleted"
