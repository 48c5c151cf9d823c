"""Grants over HTTP: who may change them, what a run is held to, and what its record shows."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from core import keys
from core.redis_client import connect
from core.redis_server import PrivateRedis
from integrations.stubs import Stubs
from tenancy.scopes import Role, Scope
from tests import warm
from tests.api_server import ApiServer
from tests.deadline import Deadline

pytestmark = pytest.mark.jail
CREATE = 'return app.integrations.mux.create_asset("https://example.com/v.mp4").data.status'
LIST = "return #app.integrations.mux.list_assets({}).data"
ADMIN = (Scope.READ, Scope.WRITE, Scope.GRANTS_ADMIN)


@pytest.fixture(scope="module")
def api(
    redis_server: PrivateRedis, stub_servers: Stubs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """A service with one real worker, whose tenants have accounts of the stubs."""
    accounts: Path = tmp_path_factory.mktemp("grants") / "accounts.toml"
    text = stub_servers.accounts_toml
    accounts.write_text(text.replace("[mux.", "[tenants.acme.mux."))
    with connect(redis_server.url) as redis:
        redis.flushall()
    with ApiServer(redis_server.url) as served, served.client("acme") as client:
        worker = warm.start(
            *("moonsand", "worker", "--slots", "2"),
            env={
                "PATH": os.environ["PATH"],
                "REDIS_URL": redis_server.url,
                "MOONSAND_ACCOUNTS": str(accounts),
                "MOONSAND_LOG_LEVEL": "warning",
            },
        )
        try:
            Deadline().until(
                lambda: client.get("/readyz").status_code == 200, "readiness", seconds=20
            )
            yield served
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0


@pytest.fixture
def admin(api: ApiServer, stub_servers: Stubs) -> Iterator[httpx2.Client]:
    """A client with the administrative scope, of a tenant without grants."""
    stub_servers.reset()
    key = api.new_key("acme", ADMIN)
    with api.client(Authorization=f"Bearer {key}") as client:
        yield client
        client.delete("/v1/grants")


def client_of(api: ApiServer, *scopes: Scope) -> httpx2.Client:
    """Make a client with a new key of the tenant."""
    return api.client(Authorization=f"Bearer {api.new_key('acme', scopes)}")


def run(client: httpx2.Client, script: str, **body: Any) -> Any:
    """Run a script to its end and give its record."""
    answer = client.post("/v1/runs", json={"script": script, "wait_s": 20, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def code(client: httpx2.Client, script: str, **body: Any) -> str:
    """Give the result of a script, or the code of the error it died of."""
    caught = (
        f"local ok, e = pcall(function() {script} end) return ok and 'made' or e.code or 'none'"
    )
    return str(run(client, caught, **body)["result"])


def asks(client: httpx2.Client, script: str, **body: Any) -> bool:
    """Tell whether a run of the script waits for somebody's answer; it is not given one."""
    run_id = client.post("/v1/runs", json={"script": script, **body}).json()["id"]
    seen: list[str] = []

    def settled() -> bool:
        seen.append(client.get(f"/v1/runs/{run_id}").json()["status"])
        return seen[-1] not in {"queued", "running"}

    Deadline().until(settled, "the run to end or to wait")
    client.post(f"/v1/runs/{run_id}/cancel")
    return seen[-1] == "waiting"


def put(client: httpx2.Client, rules: Any, path: str = "/v1/grants") -> httpx2.Response:
    """Set grants."""
    return client.put(path, json={"grants": rules})


def key_id_of(client: httpx2.Client, redis: PrivateRedis) -> str:
    """Give the id of a client's key."""
    last4 = client.headers["Authorization"][-4:]
    with connect(redis.url) as connection:
        rows: Any = connection.hvals(keys.KEYS)
    return next(str(one["id"]) for one in map(orjson.loads, rows) if one["last4"] == last4)


def test_without_grants_everything_is_as_before(admin: httpx2.Client) -> None:
    """A tenant that has none may call what it has accounts for; nothing is said in the record."""
    assert admin.get("/v1/grants").json() == {"tenant": None, "keys": {}}
    record = run(admin, CREATE)
    assert record["result"] == "preparing", record
    assert (record["grants"], record["ceiling"], record["force"]) == (None, None, False)


def test_a_tenants_grants_hold_from_the_next_run(admin: httpx2.Client) -> None:
    """What is set is shown, holds for runs accepted after it, and stands in their records."""
    rules = ["mux:read", {"pattern": "mux.create_asset", "effect": "ask", "accounts": ["default"]}]
    answer = put(admin, rules)
    assert (answer.status_code, answer.json()) == (200, {"grants": rules})
    assert admin.get("/v1/grants").json()["tenant"] == rules
    assert admin.get("/v1/grants/effective").json() == {"tenant": rules, "key": None}
    assert asks(admin, CREATE)
    assert code(admin, LIST) == "made"
    record = run(admin, LIST, grants=["mux"])
    assert record["ceiling"] == {"tenant": rules}
    assert record["grants"] == ["mux"]
    assert admin.get(f"/v1/runs/{record['id']}").json() == record
    listed = admin.get("/v1/runs?limit=1").json()["data"][0]
    assert "ceiling" not in listed
    assert admin.delete("/v1/grants").status_code == 204
    assert admin.delete("/v1/grants").status_code == 404
    assert code(admin, CREATE) == "made"


def test_a_key_has_no_more_than_its_tenant_and_a_run_no_more_than_its_key(
    api: ApiServer, admin: httpx2.Client, redis_server: PrivateRedis
) -> None:
    """Each of the three only takes away; asking for more is cut."""
    put(admin, ["mux"])
    with client_of(api, Scope.READ, Scope.WRITE) as other:
        path = f"/v1/grants/keys/{key_id_of(other, redis_server)}"
        assert admin.get(path).json() == {"grants": None}
        assert put(admin, ["*:read", "heygen"], path).status_code == 200
        assert code(other, LIST) == "made"
        assert code(other, CREATE, grants=["*"]) != "made"
        assert code(other, "return app.integrations.heygen.list_videos()") != "made"
        assert code(other, LIST, grants=[]) != "made"
        assert code(admin, CREATE) == "made"
        record = run(other, "return 1", grants=["mux:write"])
        assert record["ceiling"] == {"tenant": ["mux"], "key": ["*:read", "heygen"]}
        assert admin.delete(path).status_code == 204
        assert code(other, CREATE) == "made"


def test_force_needs_its_scope_and_is_recorded(
    api: ApiServer, admin: httpx2.Client, redis_server: PrivateRedis
) -> None:
    """Without the scope it is refused; with it a question about a class is not asked."""
    put(admin, ["*:read", "ask:mux:write"])
    body = {"script": CREATE, "force": True}
    refused = admin.post("/v1/runs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "runs:force" in refused.json()["detail"]
    with client_of(api, Scope.FORCE) as alone:
        assert alone.post("/v1/runs", json=body).status_code == 403
    with client_of(api, Scope.READ, Scope.WRITE, Scope.FORCE) as forcing:
        assert asks(forcing, CREATE)
        record = run(forcing, CREATE, force=True)
        assert (record["result"], record["force"]) == ("preparing", True)
        assert forcing.get(f"/v1/runs/{record['id']}").json()["force"] is True
        assert forcing.get("/v1/runs?limit=1").json()["data"][0]["force"] is True
        put(admin, ["*:read", "ask:mux.create_asset", "ask:mux:write"])
        assert asks(forcing, CREATE, force=True)
        put(admin, ["*:read", "deny:mux:write", "mux"])
        assert code(forcing, CREATE, force=True) != "made"
    with connect(redis_server.url) as redis:
        first: Any = redis.xrange(keys.tape(record["id"]), count=1)
    accepted = orjson.loads(first[0][1][b"body"])
    assert accepted["grants"] == {"tenant": ["*:read", "ask:mux:write"], "force": True}


def test_only_administrators_see_and_change_grants(api: ApiServer, admin: httpx2.Client) -> None:
    """No other scope opens these routes, except the one that shows what holds for oneself."""
    put(admin, ["mux"])
    others = [one for one in Role.ADMIN.scopes if one is not Scope.GRANTS_ADMIN]
    with client_of(api, *others) as client:
        for answer in (
            client.get("/v1/grants"),
            put(client, ["*"]),
            client.delete("/v1/grants"),
            client.get("/v1/grants/keys/key_x"),
            put(client, ["*"], "/v1/grants/keys/key_x"),
            client.delete("/v1/grants/keys/key_x"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert client.get("/v1/grants/effective").json()["tenant"] == ["mux"]
    assert admin.get("/v1/grants").json()["tenant"] == ["mux"]


def test_a_tenant_reaches_only_its_own(api: ApiServer, redis_server: PrivateRedis) -> None:
    """Another tenant's key is not there, and its runs are not limited."""
    stranger = f"Bearer {api.new_key('globex', ADMIN)}"
    with api.client(Authorization=stranger) as client, client_of(api, *ADMIN) as own:
        path = f"/v1/grants/keys/{key_id_of(own, redis_server)}"
        for answer in (client.get(path), put(client, [], path), client.delete(path)):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert put(client, []).status_code == 200
        assert own.get("/v1/grants").json()["tenant"] is None
        assert client.get("/v1/grants").json()["tenant"] == []


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ([], 422, ""),
        ({}, 422, "/grants"),
        ({"grants": None}, 422, "/grants"),
        ({"grants": "mux"}, 422, "/grants"),
        ({"grants": [], "x": 1}, 422, "/x"),
        ({"grants": ["mux", "Mux"]}, 422, "/grants/1"),
        ({"grants": ["muxx"]}, 422, "/grants/0"),
        ({"grants": [{"pattern": "mux", "arguments": {"$ref": "file:///etc/passwd"}}]}, 422,
         "/grants/0/arguments/$ref"),
        ({"grants": ["mux"] * 257}, 422, "/grants"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    admin: httpx2.Client, body: Any, status: int, pointer: str
) -> None:
    """A problem with a JSON pointer; what was set before stays."""
    put(admin, ["mux"])
    answer = admin.put("/v1/grants", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (status, pointer)
    assert admin.get("/v1/grants").json()["tenant"] == ["mux"]


def test_a_lease_that_takes_nothing_real_away_is_refused(admin: httpx2.Client) -> None:
    """A mistyped denial would deny nothing: nothing is accepted."""
    for rule in ("deny:mux.create_assets", "ask:muxx", {"pattern": "muxx", "calls_per_run": 1}):
        answer = admin.post("/v1/runs", json={"script": "return 1", "grants": ["mux", rule]})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"].startswith("/grants/1")


def test_damaged_grants_let_nothing_through(
    admin: httpx2.Client, redis_server: PrivateRedis
) -> None:
    """What cannot be read is no missing limit: no run is accepted."""
    with connect(redis_server.url) as redis:
        for damage in (b"{", b'"*"', b'["MUX"]', b"null"):
            redis.hset(keys.grants("acme"), "tenant", damage)
            answer = admin.post("/v1/runs", json={"script": "return 1"})
            assert (answer.status_code, answer.json()["code"]) == (500, "internal")


def test_a_change_is_told_to_the_ledger(admin: httpx2.Client, redis_server: PrivateRedis) -> None:
    """Who changed what, without schemas of arguments, which are no business of for ever."""
    rule = {
        "pattern": "mux.get_asset",
        "arguments": {"properties": {"asset_id": {"const": "me@x"}}},
    }
    put(admin, ["mux:write", rule])
    admin.post("/v1/runs", json={"script": "return 1", "grants": [rule]})
    with connect(redis_server.url) as redis:
        told: Any = redis.xrange(keys.LEDGER_INBOX)
    leaves = [orjson.loads(fields[b"leaf"]) for _, fields in told if b"leaf" in fields]
    limited = {"pattern": "mux.get_asset", "effect": "allow", "arguments": "limited"}
    run_leaf = next(one for one in reversed(leaves) if one["kind"] == "run.accepted")
    assert run_leaf["grants"] == {"tenant": ["mux:write", limited], "run": [limited]}
    leaf = next(one for one in reversed(leaves) if one["kind"] == "grants.changed")
    assert (leaf["kind"], leaf["tenant"], leaf["id"]) == ("grants.changed", "acme", "acme")
    assert leaf["by"] == key_id_of(admin, redis_server)
    assert leaf["grants"] == ["mux:write", limited]
