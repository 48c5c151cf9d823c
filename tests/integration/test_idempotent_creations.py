"""`Idempotency-Key` wherever something is made: one thing, one answer, no secret kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import redis

from core.redis_server import PrivateRedis
from tenancy.master_keys import new_line
from tenancy.scopes import Scope
from tests.api_server import ApiServer

SCRIPT = {"name": "report", "script": "return 1"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/scripts": SCRIPT,
    "/v1/schedules": {"script_ref": "report", "every_s": 3_600},
    "/v1/hooks": {"name": "ours", "scheme": "standard-webhooks", "script_ref": "report"},
    "/v1/callbacks": {"name": "mine", "url": "https://example.com/told"},
    "/v1/keys": {"name": "second"},
}
SECRETS = {"/v1/hooks": "secret", "/v1/callbacks": "secret", "/v1/keys": "key"}


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API for all tests of this file."""
    with ApiServer(redis_server.url, trigger_keys=new_line("k1")) as server:
        yield server


@pytest.fixture
def client(api: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """A client of tenant acme whose key may do everything; there is a saved script."""
    every = tuple(one for one in Scope if one is not Scope.TENANTS_ADMIN)
    headers = {"Authorization": f"Bearer {api.new_key('acme', every)}"}
    with api.client(None, **headers) as made:
        assert made.post("/v1/scripts", json={"name": "report", "script": "return 0"}).is_success
        yield made


@pytest.mark.parametrize("path", BODIES)
def test_a_thing_is_made_once_and_the_second_answer_is_marked(
    client: httpx2.Client, redis_sync: redis.Redis, path: str
) -> None:
    """The second answer is the first, without the secret that is shown once and kept nowhere."""
    before = len(client.get(path).json()["data"])
    headers = {"Idempotency-Key": "k1"}
    first = client.post(path, json=BODIES[path], headers=headers)
    again = client.post(path, json=BODIES[path], headers=headers)
    assert (first.status_code, again.status_code) == (201, 201), first.text + again.text
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    shown, told = first.json(), again.json()
    secret = shown.pop(SECRETS[path], None) if path in SECRETS else None
    assert told == shown
    if path != "/v1/scripts":
        assert len(client.get(path).json()["data"]) == before + 1
    if secret is not None:
        kept = [redis_sync.hgetall(name) for name in redis_sync.scan_iter("ms:idem:*")]
        assert secret not in str(kept)
    other = client.post(path, json={**BODIES[path], "name": "another"}, headers=headers)
    assert other.status_code == 422


@pytest.mark.parametrize("path", [path for path in BODIES if path != "/v1/scripts"])
def test_a_try_after_a_crash_finds_what_was_made(
    client: httpx2.Client, redis_sync: redis.Redis, path: str
) -> None:
    """The first made it and died before its answer: the second tells of that one, and keeps it."""
    before = len(client.get(path).json()["data"])
    headers = {"Idempotency-Key": "k1"}
    first = client.post(path, json=BODIES[path], headers=headers)
    (name,) = redis_sync.scan_iter("ms:idem:*")
    # As it was between the write and the answer, when the lease of the dead is over.
    made = first.headers["location"].rpartition("/")[2]
    redis_sync.hdel(name, "status", "headers", "body", "reference")
    redis_sync.hset(name, mapping={"seed": _seed(made), "until_ms": 0})
    again = client.post(path, json=BODIES[path], headers=headers)
    assert again.status_code == 201, again.text
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert len(client.get(path).json()["data"]) == before + 1
    assert client.post(path, json=BODIES[path], headers=headers).json() == again.json()


def test_a_connection_and_its_sync_are_made_once(
    client: httpx2.Client, redis_sync: redis.Redis
) -> None:
    """Sent again, and after a crash between the write and the answer; a namespace counts too."""
    credentials = {"type": "account", "account": "default", "webhook_secret": "s" * 32}
    connection = {
        "name": "Mux",
        "provider_type": "mux",
        "provider_config": {"credentials": credentials},
        "test_before_save": False,
    }
    where = "/v1/organizations/connections"
    made = _twice(client, redis_sync, where, connection, "connection_id")
    sync = {"connection_id": made["connection_id"]}
    _twice(client, redis_sync, "/v1/buckets/b1/syncs", sync, "sync_config_id")
    assert len(client.post(f"{where}/list", json={}).json()["results"]) == 1
    assert len(client.post("/v1/buckets/b1/syncs/list", json={}).json()["results"]) == 1
    headers = {"Idempotency-Key": "k1", "X-Namespace": "another"}
    assert client.post("/v1/buckets/b1/syncs", json=sync, headers=headers).status_code == 422


def _twice(
    client: httpx2.Client, redis_sync: redis.Redis, path: str, body: dict[str, Any], name: str
) -> dict[str, Any]:
    before = set(redis_sync.scan_iter("ms:idem:*"))
    headers = {"Idempotency-Key": "k1"}
    first = client.post(path, json=body, headers=headers)
    assert first.status_code == 200, first.text
    assert client.post(path, json=body, headers=headers).content == first.content
    (kept,) = set(redis_sync.scan_iter("ms:idem:*")) - before
    redis_sync.hdel(kept, "status", "headers", "body", "reference")
    redis_sync.hset(kept, mapping={"seed": _seed(first.json()[name]), "until_ms": 0})
    again = client.post(path, json=body, headers=headers)
    assert again.headers["idempotent-replayed"] == "true", again.text
    assert again.json()[name] == first.json()[name]
    made: dict[str, Any] = first.json()
    return made


def _seed(made: str) -> str:
    """Give the seed of an id."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    number = 0
    for digit in made.partition("_")[2]:
        number = number << 5 | alphabet.index(digit)
    return f"{number >> 80:x}.{number & (1 << 80) - 1:x}"
