"""The Python clients: typed errors, streams that are taken up again, the public names."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import moonsand
from moonsand import blocking_client
from moonsand import client as client_module

RUN: dict[str, Any] = {
    "id": "run_1",
    "status": "succeeded",
    "reason": "ok",
    "result": 1,
    "tenant": "acme",
    "script_sha256": "0",
    "seed": 1,
    "created_ms": 1,
    "of_a_later_version": True,
}
Answer = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    """Gives prepared answers in order and keeps the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def gives(self, status: int, body: object, **headers: str) -> None:
        """Prepare one answer; anything but bytes becomes JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, named, content))


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        status, headers, content = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815 (the names that the standard library looks for)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A real HTTP server with prepared answers."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[moonsand.Client]:
    """A client of that server."""
    with moonsand.Client(server.url, "ms_live_x") as opened:
        yield opened


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthenticated", moonsand.Unauthenticated),
        (403, "forbidden", moonsand.Forbidden),
        (404, "not_found", moonsand.NotFound),
        (409, "conflict", moonsand.Conflict),
        (413, "too_large", moonsand.TooLarge),
        (422, "invalid", moonsand.Invalid),
        (429, "quota_exceeded", moonsand.QuotaExceeded),
        (400, "invalid_json", moonsand.Refused),
        (503, "unavailable", moonsand.Unavailable),
        (500, "internal", moonsand.Broken),
        (418, "of_a_later_version", moonsand.Refused),
    ],
)
def test_a_problem_is_a_typed_error(
    server: Server, client: moonsand.Client, status: int, code: str, kind: type[Exception]
) -> None:
    """Each problem of the API is raised as the error it stands for, with detail and hint."""
    server.gives(status, {"code": code, "detail": "what", "hint": "do"}, Retry_After="7")
    with pytest.raises(kind) as caught:
        client.get("run_1")
    assert isinstance(caught.value, moonsand.ServiceError)
    assert type(caught.value) is kind
    assert (caught.value.detail, caught.value.hint) == ("what", "do")
    if isinstance(caught.value, moonsand.QuotaExceeded):
        assert caught.value.retry_after_s == 7


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b'"text"', b""])
def test_an_answer_of_a_proxy_is_an_error_too(
    server: Server, client: moonsand.Client, body: bytes
) -> None:
    """What is no problem document is still raised, by its status."""
    server.gives(502, body)
    with pytest.raises(moonsand.Unavailable, match="the server answered 502"):
        client.get("run_1")


def test_what_is_not_understood_is_told(server: Server, client: moonsand.Client) -> None:
    """A good status with a body of another shape is not taken for a run."""
    server.gives(200, {"id": "run_1"})
    with pytest.raises(moonsand.Broken, match="not what this version of the client understands"):
        client.get("run_1")


def test_a_submission_is_sent_as_documented(server: Server, client: moonsand.Client) -> None:
    """Names, values and the key are those of the API; what is new in an answer is ignored."""
    server.gives(200, RUN)
    run = client.submit("return 1", input=None, limits={"calls": 1}, grants=[], wait_s=3)
    assert run.result == 1
    method, path, headers, body = server.requests[0]
    assert (method, path) == ("POST", "/v1/runs")
    assert headers["Authorization"] == "Bearer ms_live_x"
    assert json.loads(body) == {
        "script": "return 1",
        "input": None,
        "limits": {"calls": 1},
        "grants": [],
        "name": "script",
        "wait_s": 3,
    }


def event(number: int, kind: str, **data: object) -> bytes:
    """Make one server-sent event."""
    return f"id: {number}-0\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


LOST_STREAM: list[Callable[[Server], None]] = [
    lambda server: server.gives(
        200,
        event(1, "log", text="a") + b"id: 2-0\nevent: log\ndata: {",
        Content_Type="text/event-stream",
    ),
    lambda server: server.gives(503, {"code": "unavailable", "detail": "draining"}),
    lambda server: server.gives(
        200,
        event(2, "log", text="b") + event(3, "state", state="succeeded"),
        Content_Type="text/event-stream",
    ),
]


def test_a_broken_stream_is_taken_up_where_it_broke(
    server: Server, client: moonsand.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a lost connection the stream goes on after the last whole event, without repeats."""
    monkeypatch.setattr(blocking_client, "RECONNECT_S", 0.01)
    for prepare in LOST_STREAM:
        prepare(server)
    events = list(client.events("run_1"))
    assert [one.data.get("text") or one.state for one in events] == ["a", "b", "succeeded"]
    resumed_after = [headers.get("Last-Event-ID") for _, _, headers, _ in server.requests]
    assert resumed_after == [None, "1-0", "1-0"]


async def test_the_asyncio_client_does_the_same(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AsyncClient takes up broken streams, submits, lists, and raises the same errors."""
    monkeypatch.setattr(client_module, "RECONNECT_S", 0.01)
    for prepare in LOST_STREAM:
        prepare(server)
    server.gives(200, RUN)
    server.gives(202, RUN)
    server.gives(200, {"data": [RUN], "next_cursor": "c", "has_more": True})
    server.gives(404, {"code": "not_found", "detail": "none"})
    async with moonsand.AsyncClient(server.url, "ms_live_x") as client:
        assert (await client.wait("run_1")).result == 1
        assert (await client.submit("return 1")).id == "run_1"
        page = await client.list(state=moonsand.State.FAILED)
        assert ([run.id for run in page.runs], page.next_cursor) == (["run_1"], "c")
        with pytest.raises(moonsand.NotFound):
            await client.cancel("run_2")


def test_a_stream_that_has_ended_gives_nothing_more(
    server: Server, client: moonsand.Client
) -> None:
    """Asked to resume after the last event, the API answers 204 and the client ends too."""
    server.gives(204, b"")
    assert list(client.events("run_1", after="9-0")) == []


def test_a_stream_gives_up_in_the_end(
    server: Server, client: moonsand.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API that stays away is an error after five more tries."""
    monkeypatch.setattr(blocking_client, "RECONNECT_S", 0.001)
    for _ in range(6):
        server.gives(503, {"code": "unavailable", "detail": "away"})
    with pytest.raises(moonsand.Unavailable, match="cannot be reached"):
        list(client.events("run_1"))
    assert len(server.requests) == 6


def test_the_public_names_are_all_there() -> None:
    """`moonsand.__all__` is sorted and each name can be imported; nothing else is promised."""
    assert sorted(moonsand.__all__) == moonsand.__all__
    assert all(getattr(moonsand, name) for name in moonsand.__all__)
    with pytest.raises(AttributeError):
        _ = moonsand.nothing


async def test_a_bundle_comes_piece_by_piece_or_is_an_error(
    server: Server, client: moonsand.Client
) -> None:
    """Both clients give the bytes as they are; a refusal and a broken answer are told apart."""
    lines = b'{"part":"bundle"}\n' * 20_000
    async with moonsand.AsyncClient(server.url, "ms_live_x") as other:
        server.gives(200, lines)
        assert b"".join(client.bundle("run_1")) == lines
        server.gives(200, lines)
        assert b"".join(await _whole(other)) == lines
        assert [path for _, path, _, _ in server.requests] == ["/v1/runs/run_1/bundle"] * 2

        server.gives(409, {"code": "conflict", "detail": "the run is running"})
        with pytest.raises(moonsand.Conflict, match="the run is running"):
            list(client.bundle("run_1"))
        server.gives(404, {"code": "not_found", "detail": "no"})
        with pytest.raises(moonsand.NotFound):
            await _whole(other)

        cut_off = {"Content_Length": str(len(lines) + 1)}
        server.gives(200, lines, **cut_off)
        with pytest.raises(moonsand.Unavailable, match="cannot be reached"):
            list(client.bundle("run_1"))
        server.gives(200, lines, **cut_off)
        with pytest.raises(moonsand.Unavailable, match="cannot be reached"):
            await _whole(other)


async def _whole(client: moonsand.AsyncClient) -> list[bytes]:
    return [piece async for piece in client.bundle("run_1")]
