"""The API as a process: it starts only when it can serve, and outlives its Redis."""

from __future__ import annotations

import json
import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis
import structlog

import api.protocol
import api.strict_json
from api.main import run_api
from core.errors import Unavailable
from core.redis_server import PrivateRedis
from core.settings import Settings
from tests.api_process import api_process
from tests.api_server import ApiServer
from tests.deadline import Deadline


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(redis_url: str, number: signal.Signals) -> None:
    """Told to stop, the process exits 0, and all it ever wrote is JSON without secrets."""
    with api_process(redis_url) as (process, url):
        with httpx2.Client(base_url=url, trust_env=False, timeout=40) as client:
            headers = {"Authorization": "Bearer ms_live_secretsecret"}
            assert client.get("/v1/runs?cursor=privatecursor", headers=headers).status_code == 401
        process.send_signal(number)
        _, err = process.communicate(timeout=15)
        assert process.returncode == 0
    lines = [json.loads(line) for line in err.splitlines()]
    request = next(line for line in lines if line["event"] == "request")
    assert (request["path"], request["status"]) == ("/v1/runs", 401)
    assert "secretsecret" not in err
    assert "privatecursor" not in err


def test_without_a_redis_it_does_not_start(tmp_path: Path) -> None:
    """No Redis named, or none there: refused before anything listens."""
    with pytest.raises(Unavailable):
        run_api(Settings())
    with pytest.raises(Unavailable):
        run_api(Settings(redis_url=f"unix://{tmp_path}/none.sock"))


def test_production_refuses_a_redis_that_forgets(tmp_path: Path) -> None:
    """In production a Redis without a file is refused at the start."""
    with PrivateRedis(tmp_path / "redis", persistent=False) as server:
        settings = Settings(redis_url=server.url, environment="production", port=0)
        with pytest.raises(Unavailable, match="not fit for production"):
            run_api(settings)


def test_an_address_in_use_is_told(redis_url: str) -> None:
    """A port that is taken is refused by its number."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1 port {port}"):
            run_api(Settings(redis_url=redis_url, port=port))


def test_while_redis_is_away_nothing_is_accepted(tmp_path: Path, deadline: Deadline) -> None:
    """Without Redis every route says 503 and no key gets in; with it back, all goes on."""
    redis_server = PrivateRedis(tmp_path / "redis")
    redis_server.start()
    try:
        with ApiServer(redis_server.url) as api, api.client("acme") as client:
            run_id = client.post("/v1/runs", json={"script": "x"}).json()["id"]
            redis_server.stop()
            for answer in (
                client.post("/v1/runs", json={"script": "x"}),
                client.get("/v1/runs"),
                client.get(f"/v1/runs/{run_id}"),
                client.get(f"/v1/runs/{run_id}/events"),
                client.post(f"/v1/runs/{run_id}/cancel"),
            ):
                assert answer.status_code == 503
                assert answer.json()["code"] == "unavailable"
                assert answer.headers["retry-after"] == "1"
                assert str(tmp_path) not in answer.text
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").json()["checks"]["redis"]["ok"] is False
            redis_server.start()
            deadline.until(lambda: client.get("/v1/runs").status_code == 200, "the recovery")
            assert [one["id"] for one in client.get("/v1/runs").json()["data"]] == [run_id]
    finally:
        redis_server.stop()


def test_a_redis_that_takes_no_writes_is_away(redis_url: str, redis_sync: redis.Redis) -> None:
    """A full Redis refuses new runs as 503 and is not ready; reading goes on."""
    with ApiServer(redis_url) as api, api.client("acme") as client:
        redis_sync.config_set("maxmemory", 1)
        try:
            answer = client.post("/v1/runs", json={"script": "x"})
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert client.get("/readyz").json()["checks"]["redis"]["ok"] is False
            assert client.get("/v1/runs").json()["data"] == []
        finally:
            redis_sync.config_set("maxmemory", 0)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b"])
def test_a_head_that_never_ends_is_not_waited_for(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A connection without a whole request is closed in time; a busy one is not."""
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with ApiServer(redis_url) as server, server.client("acme") as client:
        for before in (b"", whole):
            monkeypatch.setattr(api.protocol, "HEAD_S", 20.0 if before else 0.3)
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
                peer.sendall(before)
                if before:
                    assert peer.recv(4096).endswith(b'{"status":"ok"}')
                monkeypatch.setattr(api.protocol, "HEAD_S", 0.3)  # of the head that begins now
                if before and not sent:
                    continue  # idle between requests: the keep-alive time counts
                peer.sendall(sent)
                assert peer.recv(1) == b""
        monkeypatch.setattr(api.protocol, "HEAD_S", 2.0)
        slow = client.post("/v1/runs", json={"script": "return 1", "wait_s": 2.5})
        assert slow.status_code == 202


def test_a_body_that_never_ends_is_a_problem(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that does not arrive in time is answered 408, and the connection closed."""
    monkeypatch.setattr(api.strict_json, "_READ_S", 0.2)
    with ApiServer(redis_url) as server:
        head = (
            "POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: 100\r\nAuthorization: Bearer {server.new_key('acme')}\r\n\r\n{{"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
            peer.sendall(head.encode())
            answer = b"".join(iter(lambda: peer.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in answer
