"""Batches that come in parts: broken off, gone on with, cancelled or silent in the middle."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tests.api_server import ApiServer
from tests.batch_lines import HEADER, NDJSON, lines
from tests.deadline import Deadline

#: Each test has an empty Redis, also one that asks for no client.
pytestmark = pytest.mark.usefixtures("redis_url")


@contextmanager
def sending(api: ApiServer, key: str, headers: str, body: bytes) -> Iterator[socket.socket]:
    """Send the beginning of a chunked body; close the connection at the end of the `with` block."""
    with socket.create_connection(("127.0.0.1", api.port)) as raw:
        head = f"POST /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{headers}"
        head += "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        raw.sendall(head.encode() + b"%x\r\n%s\r\n" % (len(body), body))
        yield raw


def the_open_one(client: httpx2.Client, received: int, deadline: Deadline) -> dict[str, Any]:
    """Give the one batch, once it has so many items."""

    def found() -> dict[str, Any]:
        for one in client.get("/v1/batches").json()["data"]:
            if one["counts"]["received"] == received:
                return dict(one)
        return {}

    return deadline.until(found, "the upload's end")


def test_an_upload_that_breaks_off_never_runs_and_can_be_gone_on_with(
    api: ApiServer, deadline: Deadline
) -> None:
    """Whole lines that came are kept; the rest is sent to the batch, or all again with its key."""
    key = api.new_key("acme")
    with api.client(Authorization=f"Bearer {key}") as client:
        whole = lines(500)
        at = whole.index(b'{"id":"i300"') + 5
        with sending(api, key, "Idempotency-Key: k\r\n", HEADER + whole[:at]):
            the_open_one(client, 200, deadline)
        begun = the_open_one(client, 300, deadline)
        assert begun["status"] == "uploading"
        path = f"/v1/batches/{begun['id']}/items"

        rest = b"".join(whole.splitlines(keepends=True)[300:])
        wrong = client.post(path, params={"from": 299}, content=rest, headers=NDJSON)
        assert wrong.status_code == 409
        assert "the next one is item 300" in wrong.text
        twice = client.post(path, params={"from": 300}, content=b'{"id":"i7"}', headers=NDJSON)
        assert twice.status_code == 422
        assert "item 7 has this id" in twice.text
        done = client.post(path, params={"from": 300}, content=rest, headers=NDJSON)
        assert (done.status_code, done.json()["status"]) == (202, "running")

        again = client.post(
            "/v1/batches", content=HEADER + whole, headers=NDJSON | {"Idempotency-Key": "k"}
        )
        assert (again.status_code, again.json()["id"]) == (200, begun["id"])


def test_all_sent_again_with_the_key_goes_on_where_it_broke_off(
    api: ApiServer, deadline: Deadline
) -> None:
    """What is there is compared and not stored again."""
    key = api.new_key("acme")
    with api.client(Authorization=f"Bearer {key}") as client:
        with sending(api, key, "Idempotency-Key: k\r\n", HEADER + lines(450)):
            the_open_one(client, 400, deadline)
        begun = the_open_one(client, 450, deadline)
        headers = NDJSON | {"Idempotency-Key": "k"}
        changed = lines(500).replace(b'"input":449', b'"input":448')

        assert client.post("/v1/batches", content=HEADER + changed, headers=headers).is_error
        done = client.post("/v1/batches", content=HEADER + lines(500), headers=headers)

        assert (done.status_code, done.json()["status"]) == (202, "running")
        assert (done.json()["id"], done.json()["counts"]["received"]) == (begun["id"], 500)


def test_an_open_batch_is_filled_by_several_requests(client: httpx2.Client) -> None:
    """Without items a batch stays open; the last request starts it."""
    begun = client.post("/v1/batches", json={"script": "return 1", "count": 5})
    path = f"/v1/batches/{begun.json()['id']}/items"

    assert (begun.status_code, begun.json()["status"]) == (201, "uploading")
    some = client.post(path, params={"from": 0, "last": "false"}, content=lines(3), headers=NDJSON)
    assert (some.json()["status"], some.json()["counts"]["received"]) == ("uploading", 3)
    early = client.post(path, params={"from": 3}, content=b"", headers=NDJSON)
    assert early.status_code == 422
    rest = b'{"id":"x"}\n{"id":"y"}\n'
    last = client.post(path, params={"from": 3}, content=rest, headers=NDJSON)
    assert (last.status_code, last.json()["status"]) == (202, "running")
    assert client.post(path, params={"from": 5}, content=rest, headers=NDJSON).status_code == 409


def test_an_upload_that_was_cancelled_is_told_as_such(client: httpx2.Client) -> None:
    """Sent again under its key it is no batch with other items, and begins none."""
    key = {"Idempotency-Key": "k"}
    opened = client.post("/v1/batches", json={"script": "return 1"}, headers=key).json()
    path = f"/v1/batches/{opened['id']}"
    client.post(
        f"{path}/items", params={"from": 0, "last": "false"}, content=lines(3), headers=NDJSON
    )
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"

    body = {"script": "return 1", "items": [{"input": 0}]}
    again = client.post("/v1/batches", json=body, headers=key)
    more = client.post(f"{path}/items", params={"from": 3}, content=lines(1), headers=NDJSON)

    for answer in (again, more):
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "cancelled before it had all its items" in answer.json()["detail"]
    assert len(client.get("/v1/batches").json()["data"]) == 1


def test_an_upload_that_falls_silent_is_kept_and_answered(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing for so long: 408, and what came can be gone on with."""
    monkeypatch.setattr("api.batch_upload.SILENCE_S", 0.2)
    key = api.new_key("acme")

    with sending(api, key, "", HEADER + lines(3)) as raw:
        answer = raw.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 408 "), answer
    headers = {"Authorization": f"Bearer {key}"}
    (begun,) = httpx2.get(f"{api.url}/v1/batches", headers=headers).json()["data"]
    assert (begun["status"], begun["counts"]["received"]) == ("uploading", 3)
