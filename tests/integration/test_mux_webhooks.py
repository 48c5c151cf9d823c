"""`POST /v1/webhooks/mux/{connection_id}`: each documented code, in the documented order."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import redis

from core import keys
from core.ids import new_id
from core.redis_server import PrivateRedis
from tests.api_server import ApiServer
from tests.mux_mixpeek import CONNECTIONS, SECRET, TRIGGER_KEYS, Desk, desk_of, event, sign
from tests.mux_vector import MUX_AT_S, MUX_BODY, MUX_HEADER, MUX_SECRET

DELETED = event("video.asset.deleted", "abc")


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """An API that keeps webhook secrets."""
    with ApiServer(redis_server.url, trigger_keys=TRIGGER_KEYS) as server:
        yield server


@pytest.fixture
def desk(api: ApiServer, redis_url: str) -> Iterator[Desk]:
    """A client; nobody runs anything."""
    with desk_of(api, redis_url, "acme") as desk:
        yield desk


@pytest.fixture
def connection(desk: Desk) -> str:
    """A connection with a webhook secret and no sync."""
    made: str = desk.connect(test_before_save=False)["connection_id"]
    return made


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Expect a problem, and give it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["code"] == code
    return found


def test_a_deleted_asset_without_objects_is_handled(desk: Desk, connection: str) -> None:
    """The whole body of the documents, with nothing deleted: there is no sync."""
    answer = desk.send(connection, DELETED)
    assert answer.status_code == 200
    assert answer.json() == {
        "received": True,
        "event_type": "video.asset.deleted",
        "handled": True,
        "asset_id": "abc",
        "deleted_objects": 0,
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            event("video.asset.ready", "abc"),
            {"event_type": "video.asset.ready", "handled": False, "asset_id": "abc"},
        ),
        (
            event("video.live_stream.idle", "abc"),
            {"event_type": "video.live_stream.idle", "handled": False},
        ),
        (
            b'{"type": "video.asset.track.ready", "data": {"id": "track", "asset_id": "abc"}}',
            {"event_type": "video.asset.track.ready", "handled": False, "asset_id": "abc"},
        ),
        (b"{}", {"event_type": None, "handled": False}),
        (b'{"type": 5, "data": []}', {"event_type": None, "handled": False}),
        (
            b'{"type": "video.asset.deleted"}',
            {"event_type": "video.asset.deleted", "handled": False},
        ),
        (
            b'{"type": "video.asset.deleted", "id": "e", "object": {"id": "abc"}}',
            {
                "event_type": "video.asset.deleted",
                "handled": True,
                "asset_id": "abc",
                "deleted_objects": 0,
            },
        ),
    ],
)
def test_what_is_not_acted_on_is_acknowledged(
    desk: Desk, connection: str, body: bytes, said: dict[str, Any]
) -> None:
    """Every genuine event is received; `handled` tells whether it was one of ours."""
    answer = desk.send(connection, body)
    assert (answer.status_code, answer.json()) == (200, {"received": True, **said})


def test_an_unknown_connection_is_not_found(desk: Desk, connection: str) -> None:
    """Ids of nobody, of other things, and of no shape answer alike, signed or not."""
    assert connection
    for one in (new_id("con"), new_id("syn"), "x", "con_" + "0" * 26, "%2e%2e"):
        problem(desk.send(one, DELETED), 404, "not_found")
        problem(desk.send(one, b"no json", "nonsense"), 404, "not_found")


def test_who_cannot_be_checked_sends_no_body(desk: Desk) -> None:
    """404 and 400 are said before the body is there: nobody holds memory with ids of nobody."""
    account = {"credentials": {"type": "account", "account": "default"}}
    made = desk.connect(test_before_save=False, provider_config=account)["connection_id"]
    for one, code in ((new_id("con"), b"404"), (made, b"400")):
        lines = [f"POST /v1/webhooks/mux/{one} HTTP/1.1", "Host: x", "Content-Length: 99", "", ""]
        with socket.create_connection(("127.0.0.1", desk.api.port), 10) as line:
            line.sendall("\r\n".join(lines).encode())
            assert line.recv(65_536).startswith(b"HTTP/1.1 " + code)


def test_a_connection_without_a_secret_says_so(desk: Desk) -> None:
    """It comes before the signature: nothing could be checked; patched, it can be."""
    credentials = {"type": "account", "account": "default"}
    config = {"credentials": credentials}
    made = desk.connect(test_before_save=False, provider_config=config)["connection_id"]
    problem(desk.send(made, DELETED), 400, "refused")
    problem(desk.send(made, b"no json", "nonsense"), 400, "refused")
    patched = {"provider_config": {"credentials": credentials | {"webhook_secret": SECRET}}}
    answer = desk.client.patch(f"{CONNECTIONS}/{made}", json=patched)
    assert (answer.status_code, answer.json()["has_webhook_secret"]) == (200, True)
    assert SECRET not in answer.text
    assert desk.send(made, DELETED).status_code == 200


#: Made when it is sent: a signature is good for minutes only.
UNSIGNED: dict[str, Callable[[], str]] = {
    "missing": lambda: "",
    "malformed": lambda: "nonsense",
    "time only": lambda: "t=1700000000",
    "no time": lambda: "v1=" + "0" * 64,
    "another secret": lambda: sign(DELETED, secret="another-secret-of-somebody"),
    "too old": lambda: sign(DELETED, at_s=1_700_000_000),
    "other bytes": lambda: sign(DELETED + b" "),
    "another version": lambda: sign(DELETED).replace("v1=", "v0="),
}


@pytest.mark.parametrize("what", UNSIGNED)
def test_what_is_not_signed_is_refused(desk: Desk, connection: str, what: str) -> None:
    """Missing, malformed, of another secret, too old, of other bytes: 401 all the same."""
    signature = UNSIGNED[what]()
    problem(desk.send(connection, DELETED, signature), 401, "signature_refused")
    problem(desk.send(connection, b"no json", signature), 401, "signature_refused")


def test_one_changed_byte_is_refused(desk: Desk, connection: str) -> None:
    """The signature holds for the exact bytes, whitespace included."""
    signature = sign(DELETED)
    assert desk.send(connection, DELETED, signature).status_code == 200
    for changed in (DELETED.replace(b"abc", b"abd"), DELETED + b"\n", DELETED.replace(b" ", b"")):
        problem(desk.send(connection, changed, signature), 401, "signature_refused")


def test_a_missing_header_and_one_sent_twice_are_refused(desk: Desk, connection: str) -> None:
    """There is one signature, or none that counts."""
    url = f"{desk.api.url}/v1/webhooks/mux/{connection}"
    none = httpx2.post(url, content=DELETED, trust_env=False)
    good = sign(DELETED)
    headers = [("Mux-Signature", good), ("Mux-Signature", good)]
    twice = httpx2.post(url, content=DELETED, headers=headers, trust_env=False)
    problem(none, 401, "signature_refused")
    problem(twice, 401, "signature_refused")


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'"text"', b'{"a": NaN}', b"\xff"])
def test_a_signed_payload_that_is_no_json_is_told(desk: Desk, connection: str, body: bytes) -> None:
    """After the signature, and before anything is made of it."""
    problem(desk.send(connection, body), 400, "invalid_json")


def test_a_body_beyond_a_mebibyte_is_refused(desk: Desk, connection: str) -> None:
    """Nobody makes the API hash what no vendor sends."""
    problem(desk.send(connection, b" " * (1 << 20) + b"{}"), 413, "too_large")


def test_the_published_vector_is_old_and_true(desk: Desk) -> None:
    """Its signature is refused for its age alone; signed anew with its secret, it is taken."""
    config = {
        "credentials": {"type": "account", "account": "default", "webhook_secret": MUX_SECRET}
    }
    made = desk.connect(test_before_save=False, provider_config=config)["connection_id"]
    found = problem(desk.send(made, MUX_BODY, MUX_HEADER), 401, "signature_refused")
    assert "signed time" in found["detail"]
    assert sign(MUX_BODY, MUX_SECRET, MUX_AT_S) == MUX_HEADER
    assert desk.send(made, MUX_BODY, sign(MUX_BODY, MUX_SECRET)).status_code == 200


def test_the_secret_is_sealed_and_never_shown(
    desk: Desk, connection: str, redis_sync: redis.Redis
) -> None:
    """No answer holds it, nor what is kept, nor the ledger's inbox."""
    shown = [
        desk.client.get(f"{CONNECTIONS}/{connection}").text,
        desk.client.post(f"{CONNECTIONS}/list").text,
    ]
    assert all(json.loads(one) and SECRET not in one for one in shown)
    kept: Any = redis_sync.hgetall(keys.connection(connection))
    inbox: Any = redis_sync.xrange(keys.LEDGER_INBOX)
    assert kept[b"secret"]
    assert SECRET not in f"{kept} {inbox}"
