"""A real worker calls MCP servers for its tenants, and takes its processes with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from core import keys
from core.redis_client import connect
from tests.api_server import ApiServer
from tests.deadline import Deadline
from tests.mcp_serving import mcp_processes, stdio_section, trust_all, write_servers
from tests.worker_processes import running_worker

pytestmark = pytest.mark.jail
READ = 'return app.mcp.notes.read_note("first")'


def submitted(api: ApiServer, tenant: str, script: str) -> dict[str, object]:
    """Submit a script as a tenant and give the ended run."""
    with api.client(tenant) as client:
        answer = client.post("/v1/runs", json={"script": script}, headers={"Prefer": "wait=20"})
    assert answer.status_code == 200, answer.text
    document: dict[str, object] = answer.json()
    return document


def test_a_tenant_has_its_own_servers_and_they_end_with_the_worker(
    redis_url: str, tmp_path: Path
) -> None:
    """Trusted while the worker runs, called by one tenant only, gone when the worker is killed."""
    mark = str(tmp_path / "mark")
    section = stdio_section("tenants.acme.notes").replace('.py"]', f'.py", "{mark}"]')
    path = write_servers(tmp_path, section)
    with ApiServer(redis_url) as api, running_worker(redis_url, mcp_servers=path) as worker:
        refused = submitted(api, "acme", READ)
        assert "is not trusted" in str(refused["error"])
        asyncio.run(trust_all(path, "acme"))
        assert submitted(api, "acme", READ)["result"] == "hello"
        with connect(redis_url) as client:
            client.hset(keys.terms("acme"), "calls_per_minute.mcp.notes", "2")
        assert submitted(api, "acme", READ)["result"] == "hello"
        used_up = "calls_per_minute.mcp.notes of this tenant is used up: 2 of 2"
        twice = str(submitted(api, "acme", f"app.mcp.notes.read_note('first') {READ}")["error"])
        assert used_up in twice
        assert "no external call was made" in twice
        assert "Unknown server" in str(submitted(api, "other", READ)["error"])
        assert len(mcp_processes(mark)) == 1
        worker.kill()
        Deadline().until(lambda: not mcp_processes(mark), "the server's end")
