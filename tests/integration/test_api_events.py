"""Events over HTTP: from the start, in order, resumable, and gone with who asked for them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import httpx2
import pytest
import redis

import api.events
from api.services import MAX_STREAMS_PER_TENANT
from core import keys
from core.redis_server import PrivateRedis
from tests.api_server import ApiServer
from tests.deadline import Deadline


@pytest.fixture(scope="module")
def server(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API for all tests of this file."""
    with ApiServer(redis_server.url) as made:
        yield made


@pytest.fixture
def client(server: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """A client of tenant acme, over an empty Redis."""
    with server.client("acme") as made:
        yield made


@pytest.fixture
def run_id(client: httpx2.Client) -> str:
    """A queued run."""
    return str(client.post("/v1/runs", json={"script": "return 1"}).json()["id"])


def add(redis_sync: redis.Redis, run_id: str, kind: str, **data: object) -> str:
    """Add an event as a worker does, and give its id."""
    fields = {"type": kind, "data": json.dumps(data)}
    made = redis_sync.xadd(keys.events(run_id), fields)  # type: ignore[arg-type]
    assert isinstance(made, bytes)
    return made.decode()


def parse(text: str) -> list[dict[str, str]]:
    """Read a stream of events as a client does."""
    return [
        dict(line.split(": ", 1) for line in block.split("\n"))
        for block in text.split("\n\n")
        if block and not block.startswith(":")
    ]


def open_streams(server: ApiServer) -> int:
    """Count the streams that the API holds open."""
    return sum(server.server.app.state.services.streams.values())


def test_events_come_in_order_and_end_with_the_run(
    client: httpx2.Client, run_id: str, redis_sync: redis.Redis
) -> None:
    """Every event from the first on is sent as it was written, and the last is the end."""
    text = 'a\r\nb\n\ndata: evil\nid: 9-9\n"\u2028\x00\U0001f600'
    add(redis_sync, run_id, "log", text=text)
    client.post(f"/v1/runs/{run_id}/cancel")
    answer = client.get(f"/v1/runs/{run_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = parse(answer.text)
    assert [event["event"] for event in events] == ["state", "log", "state"]
    assert json.loads(events[1]["data"]) == {"text": text}
    assert json.loads(events[2]["data"])["reason"] == "cancelled"


def test_events_come_as_they_happen(
    client: httpx2.Client, run_id: str, redis_sync: redis.Redis
) -> None:
    """An event is sent while the run goes on, not when it ends."""
    with client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: state"
        add(redis_sync, run_id, "log", text="now")
        assert next(line for line in lines if line == 'data: {"text":"now"}')


def test_resuming_misses_nothing_and_repeats_nothing(
    client: httpx2.Client, run_id: str, redis_sync: redis.Redis
) -> None:
    """After `Last-Event-ID` come exactly the events behind it; after the last, 204."""
    ids = [add(redis_sync, run_id, "log", text=str(index)) for index in range(5)]
    client.post(f"/v1/runs/{run_id}/cancel")
    path = f"/v1/runs/{run_id}/events"
    whole = [event["id"] for event in parse(client.get(path).text)]
    assert whole[1:6] == ids
    for index, event_id in enumerate(whole[:-1]):
        resumed = client.get(path, headers={"Last-Event-ID": event_id})
        assert [event["id"] for event in parse(resumed.text)] == whole[index + 1 :]
    assert client.get(path, headers={"Last-Event-ID": whole[-1]}).status_code == 204


@pytest.mark.parametrize(
    "event_id",
    ["x", "1", "-", "1-", "1-x", "$", "+", "1-1-1", f"{2**64}-0", "1" * 30 + "-0", "0x1-0"],
)
def test_an_event_id_that_is_none_is_refused(
    client: httpx2.Client, run_id: str, event_id: str
) -> None:
    """What cannot be an id is a problem before the stream begins."""
    answer = client.get(f"/v1/runs/{run_id}/events", headers={"Last-Event-ID": event_id})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["header"] == "Last-Event-ID"


def test_silence_is_filled_with_pings(
    client: httpx2.Client, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing happens a comment keeps the connection alive."""
    monkeypatch.setattr(api.events, "PING_S", 0.05)
    with client.stream("GET", f"/v1/runs/{run_id}/events") as answer:
        lines = answer.iter_lines()
        assert [line for line, _ in zip((x for x in lines if x[:1] == ":"), range(3), strict=False)]


def test_a_client_that_leaves_leaves_nothing(
    client: httpx2.Client, server: ApiServer, run_id: str, redis_sync: redis.Redis
) -> None:
    """When clients vanish their streams end, and their Redis connections serve others."""
    peers = []
    for _ in range(20):
        peer = socket.create_connection(("127.0.0.1", server.port))
        head = f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: x\r\n"
        peer.sendall(f"{head}Authorization: {client.headers['authorization']}\r\n\r\n".encode())
        assert peer.recv(15) == b"HTTP/1.1 200 OK"
        peers.append(peer)
    assert open_streams(server) == 20
    for peer in peers:
        peer.close()
    Deadline().until(lambda: open_streams(server) == 0, "the end of all streams")

    def blocked() -> int:
        return int(redis_sync.info("clients")["blocked_clients"])

    Deadline().until(lambda: blocked() <= 1, "the end of all blocked reads but the API's own")


def test_a_client_that_takes_nothing_is_dropped(
    client: httpx2.Client,
    server: ApiServer,
    run_id: str,
    redis_sync: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader that stalls holds a stream for a bounded time, and others are served meanwhile."""
    monkeypatch.setattr(api.events, "STALL_S", 0.2)
    for _ in range(200):
        add(redis_sync, run_id, "log", text="x" * 100_000)
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", server.port))
        head = f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: x\r\n"
        peer.sendall(f"{head}Authorization: {client.headers['authorization']}\r\n\r\n".encode())
        assert peer.recv(15) == b"HTTP/1.1 200 OK"  # it has begun; nothing more is taken
        assert client.get("/healthz").status_code == 200
        Deadline().until(lambda: open_streams(server) == 0, "the end of the stream")


def test_streams_of_one_tenant_have_a_most(
    client: httpx2.Client, server: ApiServer, run_id: str
) -> None:
    """One tenant cannot hold all connections; another tenant still gets its stream."""
    services = server.server.app.state.services
    services.streams["acme"] += MAX_STREAMS_PER_TENANT
    try:
        refused = client.get(f"/v1/runs/{run_id}/events")
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) > 0
        with server.client("globex") as other:
            theirs = other.post("/v1/runs", json={"script": "x"}).json()["id"]
            other.post(f"/v1/runs/{theirs}/cancel")
            assert other.get(f"/v1/runs/{theirs}/events").status_code == 200
    finally:
        del services.streams["acme"]


def test_stopping_the_process_ends_streams_and_waits(redis_url: str) -> None:
    """A process that is told to stop ends its streams whole and answers who waits with 202."""
    with ApiServer(redis_url) as own, own.client("acme") as client:
        got: list[object] = []

        def wait() -> None:
            with own.client("acme") as other:
                body = {"script": "return 1", "wait_s": 30}
                got.append(other.post("/v1/runs", json=body).status_code)

        waiting = threading.Thread(target=wait)
        waiting.start()
        (run,) = Deadline().until(lambda: client.get("/v1/runs").json()["data"])
        with client.stream("GET", f"/v1/runs/{run['id']}/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            own.server.should_exit = True
            got.append(list(lines)[-1])
        waiting.join(10)
    assert sorted(map(str, got)) == ["", "202"]
