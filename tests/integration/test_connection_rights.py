"""Connections and syncs over HTTP: whose they are, and with whose rights they act."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core import keys
from core.ids import new_id
from core.redis_server import PrivateRedis
from tenancy.scopes import Role, Scope
from tests.api_server import ApiServer
from tests.mux_mixpeek import CONNECTIONS, SYNCS, TRIGGER_KEYS, Desk, desk_of


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """An API that keeps webhook secrets."""
    with ApiServer(redis_server.url, log_level="warning", trigger_keys=TRIGGER_KEYS) as server:
        yield server


@pytest.fixture
def desk(api: ApiServer, redis_url: str) -> Iterator[Desk]:
    """A client; nobody runs anything."""
    with desk_of(api, redis_url, "acme") as desk:
        yield desk


def test_what_is_another_tenants_is_not_there(api: ApiServer, desk: Desk, redis_url: str) -> None:
    """Their ids answer in the very words of ids that never were."""
    connection = desk.untested()
    sync = desk.sync(connection)["sync_config_id"]
    asked = [
        ("GET", f"{CONNECTIONS}/{{con}}", None),
        ("PATCH", f"{CONNECTIONS}/{{con}}", {"description": "mine"}),
        ("DELETE", f"{CONNECTIONS}/{{con}}", None),
        ("POST", f"{CONNECTIONS}/{{con}}/test", None),
        ("POST", SYNCS, {"connection_id": "{con}"}),
        ("GET", f"{SYNCS}/{{syn}}", None),
        ("PATCH", f"{SYNCS}/{{syn}}", {"is_active": False}),
        ("DELETE", f"{SYNCS}/{{syn}}", None),
        ("POST", f"{SYNCS}/{{syn}}/trigger", None),
        ("POST", f"{SYNCS}/{{syn}}/pause", None),
        ("POST", f"{SYNCS}/{{syn}}/resume", None),
    ]
    with desk_of(api, redis_url, "other") as other:
        for method, path, body in asked:
            said = []
            for con, syn in ((connection, sync), (new_id("con"), new_id("syn"))):
                filled = body and {
                    name: con if value == "{con}" else value for name, value in body.items()
                }
                answer = other.client.request(method, path.format(con=con, syn=syn), json=filled)
                assert answer.status_code in {404, 422}, answer.text
                told = answer.json()
                said.append((told["code"], told["detail"], told.get("hint")))
            assert said[0] == said[1], (method, path)
        assert other.client.post(f"{CONNECTIONS}/list").json()["results"] == []
        assert other.client.post(f"{SYNCS}/list").json()["results"] == []
    assert desk.client.get(f"{SYNCS}/{sync}").json()["is_active"] is True


def test_each_route_asks_for_its_scope(api: ApiServer, desk: Desk) -> None:
    """Reading triggers changes nothing, and who may not start runs makes no sync."""
    connection = desk.untested()
    with api.client(Authorization=f"Bearer {api.new_key('acme', Role.VIEWER.scopes)}") as viewer:
        assert viewer.get(f"{CONNECTIONS}/{connection}").status_code == 200
        for method, path in (
            ("DELETE", f"{CONNECTIONS}/{connection}"),
            ("POST", f"{CONNECTIONS}/{connection}/test"),
            ("POST", SYNCS),
            ("POST", "/v1/buckets"),
        ):
            assert viewer.request(method, path, json={}).status_code == 403, path
    only = api.new_key("acme", (Scope.TRIGGERS_WRITE, Scope.TRIGGERS_READ))
    with api.client(Authorization=f"Bearer {only}") as client:
        refused = client.post(SYNCS, json={"connection_id": connection})
    assert refused.status_code == 403
    assert "runs:write" in refused.json()["detail"]


def test_nobody_gets_anothers_rights_by_changing_a_sync(api: ApiServer, desk: Desk) -> None:
    """
    What decides which objects go, and from where, is changed with one's own key in its place.

    Cycles and events have the rights of whoever changed the sync, switched it on, or gave its
    connection a token or webhook secret, last. Without `runs:write` one may only pause it.
    """
    connection = desk.untested()
    one = f"{SYNCS}/{desk.sync(connection)['sync_config_id']}"
    config = {"type": "account", "account": "production", "webhook_secret": "x" * 32}
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("PATCH", one, {"reconcile_on_sync": True}),
        ("POST", f"{one}/resume", {}),
        ("PATCH", f"{CONNECTIONS}/{connection}", {"provider_config": {"credentials": config}}),
    ]
    triggers = (Scope.TRIGGERS_READ, Scope.TRIGGERS_WRITE)
    with api.client(Authorization=f"Bearer {api.new_key('acme', triggers)}") as other:
        for method, path, body in ways:
            refused = other.request(method, path, json=body)
            assert (refused.status_code, "runs:write" in refused.text) == (403, True), path
        assert other.patch(f"{CONNECTIONS}/{connection}", json={"name": "x"}).status_code == 200
        assert other.post(f"{one}/pause").status_code == 200
    maker = desk.redis.hget(keys.sync(one.rpartition("/")[2]), "key_id")
    for method, path, body in ways:
        key = api.new_key("acme", (*triggers, Scope.WRITE))
        with api.client(Authorization=f"Bearer {key}") as other:
            assert other.request(method, path, json=body).status_code == 200, path
        owner = desk.redis.hget(keys.sync(one.rpartition("/")[2]), "key_id")
        assert owner != maker, path
        maker = owner
