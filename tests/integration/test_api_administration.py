"""Tenants, keys and limits over HTTP: who may change them, and that nobody gets more than given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from core import keys
from core.redis_client import connect
from tenancy.scopes import Role, Scope
from tenancy.tenants import OPERATOR
from tests.api_server import ApiServer

NOBODY = "key_00000000000000000000000000"


@pytest.fixture
def api(redis_url: str) -> Iterator[ApiServer]:
    """The accepting side alone, with nobody in it."""
    with ApiServer(redis_url) as served:
        yield served


def client_of(api: ApiServer, tenant: str, *scopes: Scope, **headers: str) -> httpx2.Client:
    """Make a client with a new key."""
    key = api.new_key(tenant, scopes)
    return api.client(Authorization=f"Bearer {key}", **headers)


def service(api: ApiServer, tenant: str | None = None, *more: Scope) -> httpx2.Client:
    """Make a client with an operator's key, that acts for a tenant if one is named."""
    headers = {} if tenant is None else {"Moonsand-Tenant": tenant}
    return client_of(api, OPERATOR, *Role.SERVICE.scopes, *more, **headers)


def given(answer: httpx2.Response, status: int = 200) -> Any:
    """Give the body of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def with_key(api: ApiServer, text: str) -> httpx2.Client:
    """Make a client with the text of a key."""
    return api.client(Authorization=f"Bearer {text}")


def test_a_tenant_from_its_making_to_its_end(api: ApiServer) -> None:
    """An operator makes a tenant and its first key, which then does the rest; all of it can end."""
    with service(api) as operator, service(api, "acme", *Role.ADMIN.scopes) as acting:
        made = operator.post("/v1/tenants", json={"name": "acme"})
        assert given(made, 201)["state"] == "active"
        assert given(operator.get(made.headers["location"]))["name"] == "acme"
        first = given(acting.post("/v1/keys", json={"name": "first", "role": "admin"}), 201)
        with with_key(api, first["key"]) as admin:
            assert given(admin.get("/v1/keys/current"))["id"] == first["id"]
            second = given(admin.post("/v1/keys", json={"name": "ci", "role": "developer"}), 201)
            assert second["by"] == first["id"]
            assert given(operator.post("/v1/tenants/acme/suspend"))["state"] == "suspended"
            refused = admin.get("/v1/runs")
            assert refused.status_code == 403
            assert "suspended" in refused.json()["detail"]
            assert given(operator.post("/v1/tenants/acme/resume"))["state"] == "active"
            assert admin.get("/v1/runs").status_code == 200
            assert operator.delete("/v1/tenants/acme").status_code == 409
            operator.post("/v1/tenants/acme/suspend")
            assert given(operator.delete("/v1/tenants/acme"))["state"] == "deleted"
            assert admin.get("/v1/runs").status_code == 401
        assert acting.get("/v1/keys").status_code == 404
        again = operator.post("/v1/tenants", json={"name": "acme"})
        assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_lists_are_paged_and_bounded(api: ApiServer) -> None:
    """Every tenant and key comes once, whatever the page; a wrong bound or cursor is refused."""
    with service(api, None) as operator, service(api, "t0") as acting:
        for number in range(5):
            operator.post("/v1/tenants", json={"name": f"t{number}"})
        names = [f"t{number}" for number in range(5)]
        ids = [
            given(acting.post("/v1/keys", json={"name": "x", "role": "service"}), 422)
            for _ in range(1)
        ]
        assert ids[0]["errors"][0]["pointer"] == "/scopes"
        made = [
            given(acting.post("/v1/keys", json={"name": "x", "scopes": ["usage:read"]}), 201)["id"]
            for _ in range(5)
        ]
        for path, wanted, client, name in (
            ("/v1/tenants", [OPERATOR, *names], operator, "name"),
            ("/v1/keys", made, acting, "id"),
        ):
            seen, next_path = [], f"{path}?limit=2"
            while next_path:
                page = given(client.get(next_path))
                seen += [one[name] for one in page["data"]]
                cursor = page["next_cursor"]
                assert page["has_more"] == (cursor is not None)
                next_path = f"{path}?limit=2&cursor={cursor}" if cursor else ""
            assert seen == wanted
            for query in ("limit=0", "limit=201", "limit=x", "cursor=%00", "cursor=", "page=2"):
                refused = client.get(f"{path}?{query}")
                assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), query


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": ["runs:write"]},
        {"name": "x", "scopes": ["runs:read", "grants:admin"]},
        {"name": "x", "role": "admin"},
        {"name": "x", "role": "developer"},
        {"name": "x"},
    ],
)
def test_a_key_gives_no_scope_that_it_lacks(api: ApiServer, body: dict[str, Any]) -> None:
    """Whichever way it is asked for, a greater key is refused and none is made."""
    with client_of(api, "acme", Scope.KEYS_ADMIN, Scope.READ) as client:
        refused = client.post("/v1/keys", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert len(given(client.get("/v1/keys"))["data"]) == 1


def test_no_key_of_a_tenant_becomes_an_operators(api: ApiServer) -> None:
    """Not by making, changing, or naming the operator's tenant."""
    api.new_key(OPERATOR, Role.SERVICE.scopes)
    with client_of(api, "acme", *Role.ADMIN.scopes) as admin:
        own = given(admin.get("/v1/keys/current"))["id"]
        for refused in (
            admin.post("/v1/keys", json={"name": "x", "scopes": ["tenants:admin"]}),
            admin.post("/v1/keys", json={"name": "x", "role": "service"}),
            admin.patch(f"/v1/keys/{own}", json={"scopes": ["tenants:admin"]}),
        ):
            assert refused.status_code == 422
        named = {"Moonsand-Tenant": OPERATOR}
        for refused in (
            admin.get("/v1/keys", headers=named),
            admin.post("/v1/keys", headers=named, json={"name": "x", "role": "viewer"}),
            admin.get("/v1/tenants"),
            admin.post("/v1/tenants", json={"name": "globex"}),
            admin.post("/v1/tenants/acme/suspend"),
            admin.delete("/v1/tenants/acme"),
            admin.patch("/v1/limits", json={"limits": {"weight": 100}}),
        ):
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_an_operators_key_sees_no_runs_unless_it_says_so(api: ApiServer) -> None:
    """With `tenants:admin` alone neither its own requests nor keys that it gives see a run."""
    with api.client("acme") as tenant, service(api, "acme") as acting, service(api) as plain:
        run = given(tenant.post("/v1/runs", json={"script": "return 1"}), 202)["id"]
        for path in (f"/v1/runs/{run}", "/v1/runs", f"/v1/runs/{run}/events", "/v1/grants"):
            for client in (acting, plain):
                assert client.get(path).status_code == 403, path
        key = acting.post("/v1/keys", json={"name": "x", "scopes": ["runs:read"]})
        assert key.status_code == 403
        with service(api, "acme", Scope.READ) as reading, service(api, None, Scope.READ) as lost:
            assert given(reading.get(f"/v1/runs/{run}"))["tenant"] == "acme"
            assert reading.post("/v1/runs", json={"script": "return 1"}).status_code == 403
            refused = lost.get(f"/v1/runs/{run}")
            assert (refused.status_code, "Moonsand-Tenant" in refused.text) == (403, True)


def test_another_tenant_is_named_in_vain(api: ApiServer) -> None:
    """A tenant's key is told the same of tenants that are and that never were."""
    api.new_key("globex")
    with client_of(api, "acme", *Role.ADMIN.scopes) as client:
        told = [
            client.get("/v1/keys", headers={"Moonsand-Tenant": name}) for name in ("globex", "void")
        ]
        assert {one.status_code for one in told} == {403}
        assert len({one.json()["detail"] for one in told}) == 1
        for name in ("", "GLOBEX", "a:b", "a" * 41, "x\u00e9"):
            head = [(b"Moonsand-Tenant", name.encode())]
            wrong = client.get("/v1/keys", headers=head)
            assert wrong.status_code == 422
        two = [("Moonsand-Tenant", "acme"), ("Moonsand-Tenant", "globex")]
        assert client.get("/v1/keys", headers=two).status_code == 422
        assert client.get("/v1/keys", headers={"Moonsand-Tenant": "acme"}).status_code == 200


def test_foreign_keys_answer_like_keys_that_never_were(api: ApiServer) -> None:
    """No route tells another tenant's key from an id that nobody has."""
    with api.client("globex") as other:
        foreign = given(other.get("/v1/keys/current"))["id"]
    with client_of(api, "acme", *Role.ADMIN.scopes) as client:
        told = []
        for key_id in (foreign, NOBODY, "x", "key_" + "0" * 200, "%00"):
            for answer in (
                client.get(f"/v1/keys/{key_id}"),
                client.patch(f"/v1/keys/{key_id}", json={"name": "mine"}),
                client.post(f"/v1/keys/{key_id}/rotate", json={"grace_s": 0}),
                client.delete(f"/v1/keys/{key_id}"),
                client.get(f"/v1/limits/keys/{key_id}"),
                client.patch(f"/v1/limits/keys/{key_id}", json={"limits": {"queued_runs": 1}}),
            ):
                assert answer.status_code == 404, (key_id, answer.text)
                told.append(answer.json()["detail"])
        assert set(told) == {"there is no key with this id"}


def test_rotation_over_http(api: ApiServer) -> None:
    """A key may rotate itself: its old text runs on for a while and administers nothing."""
    old = api.new_key("acme", Role.ADMIN.scopes)
    with with_key(api, old) as first:
        key = given(first.get("/v1/keys/current"))
        after = given(first.post(f"/v1/keys/{key['id']}/rotate", json={"grace_s": 600}))
        assert after["id"] == key["id"]
        assert after["previous_ends_ms"] > key["created_ms"]
        assert given(first.get("/v1/runs"))["data"] == []
        refused = first.post(f"/v1/keys/{key['id']}/rotate", json={"grace_s": 0})
        assert (refused.status_code, "replaced" in refused.json()["detail"]) == (403, True)
        assert first.post("/v1/keys", json={"name": "x"}).status_code == 403
        with with_key(api, after["key"]) as second:
            given(second.post(f"/v1/keys/{key['id']}/rotate", json={"grace_s": 0}))
            assert second.get("/v1/runs").status_code == 401
        assert first.get("/v1/runs").status_code == 401


def test_limits_are_the_operators_to_change(api: ApiServer) -> None:
    """A tenant sees its limits and changes those of its keys, never its own."""
    with client_of(api, "acme", *Role.ADMIN.scopes) as admin, service(api, "acme") as acting:
        body = {"limits": {"runs_per_minute": 60, "ceiling.cpu_ms": 500, "weight": 3}}
        assert given(acting.patch("/v1/limits", json=body)) == body
        key = given(admin.post("/v1/keys", json={"name": "x", "role": "developer"}), 201)
        path = f"/v1/limits/keys/{key['id']}"
        assert given(admin.patch(path, json={"limits": {"runs_per_day": 5}})) == {
            "limits": {"runs_per_day": 5}
        }
        with with_key(api, key["key"]) as limited:
            assert given(limited.get("/v1/limits")) == {
                "tenant": body["limits"],
                "key": {"runs_per_day": 5},
            }
        assert given(admin.patch(path, json={"limits": {"runs_per_day": None}})) == {"limits": {}}


def test_who_changes_a_tenants_limits_sees_them_and_what_is_used(api: ApiServer) -> None:
    """Without any scope of runs; an operator's key that names no tenant has none of its own."""
    with service(api, "acme") as acting, service(api) as plain, client_of(api, "acme") as nobody:
        api.new_key("acme")
        given(acting.patch("/v1/limits", json={"limits": {"runs_per_day": 5}}))
        assert given(acting.get("/v1/limits")) == {"tenant": {"runs_per_day": 5}, "key": {}}
        rows = given(acting.get("/v1/quotas"))["data"]
        assert (rows[-1]["quota"], rows[-1]["allowed"]) == ("runs_per_day", 5)
        for path in ("/v1/limits", "/v1/quotas"):
            refused = plain.get(path)
            assert (refused.status_code, "Moonsand-Tenant" in refused.text) == (403, True)
            assert "runs:read" in nobody.get(path).json()["detail"]


def test_a_limited_key_lifts_no_limit(api: ApiServer) -> None:
    """Neither its own, nor by a new key, nor by the text of another."""
    with client_of(api, "acme", *Role.ADMIN.scopes) as admin:
        made = given(admin.post("/v1/keys", json={"name": "x", "role": "admin"}), 201)
        other = given(admin.post("/v1/keys", json={"name": "y", "role": "viewer"}), 201)
        path = f"/v1/limits/keys/{made['id']}"
        given(admin.patch(path, json={"limits": {"runs_per_day": 5}}))
        with with_key(api, made["key"]) as limited:
            for refused in (
                limited.patch(path, json={"limits": {"runs_per_day": None}}),
                limited.post("/v1/keys", json={"name": "z", "role": "viewer"}),
                limited.post(f"/v1/keys/{other['id']}/rotate", json={"grace_s": 0}),
                limited.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 0}),
            ):
                assert refused.status_code == 403, refused.text


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"limits": {"wieght": 1}}, "/limits/wieght"),
        ({"limits": {"weight": 0}}, "/limits/weight"),
        ({"limits": {"weight": 1.5}}, "/limits/weight"),
        ({"limits": {"weight": True}}, "/limits/weight"),
        ({"limits": {}}, "/limits"),
        ({"limits": []}, "/limits"),
        ({"limits": {"suspended_ms": 1}}, "/limits/suspended_ms"),
        ({"limit": {}}, "/limits"),
        ({}, "/limits"),
    ],
)
def test_a_wrong_limit_is_named(api: ApiServer, redis_url: str, body: Any, pointer: str) -> None:
    """What cannot be a limit is told with its pointer, and nothing is changed."""
    api.new_key("acme")
    with service(api, "acme") as acting:
        refused = given(acting.patch("/v1/limits", json=body), 422)
        assert refused["errors"][0]["pointer"] == pointer
    with connect(redis_url) as redis:
        assert not redis.exists(keys.terms("acme"))


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"name": ""},
        {"name": "x" * 81},
        {"name": "a\nb"},
        {"name": 5},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": "runs:read"},
        {"name": "x", "scopes": ["runs:Read"]},
        {"name": "x", "scopes": ["*"]},
        {"name": "x", "scopes": [None]},
        {"name": "x", "scopes": [["runs:read"]]},
        {"name": "x", "scopes": ["runs:read"] * 500},
        {"name": "x", "role": "root"},
        {"name": "x", "role": "viewer", "scopes": ["runs:reads"]},
        {"name": "x", "expires_ms": 1},
        {"name": "x", "expires_ms": "tomorrow"},
        {"name": "x", "expires_ms": 1e15},
        {"name": "x", "expires_ms": 2**62},
        {"name": "x", "tenant": "globex"},
        {"name": "x", "by": "cli"},
    ],
)
def test_a_malformed_key_is_not_made(api: ApiServer, body: Any) -> None:
    """Every wrong body is a 422 that names what is wrong; no key is made."""
    with client_of(api, "acme", *Role.ADMIN.scopes) as client:
        refused = client.post("/v1/keys", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), refused.text
        assert len(given(client.get("/v1/keys"))["data"]) == 1


def test_scopes_come_on_top_of_a_role(api: ApiServer) -> None:
    """A role and scopes together are all of both, each once, and a change replaces them."""
    with client_of(api, "acme", *Role.ADMIN.scopes) as client:
        body = {"name": "x", "role": "viewer", "scopes": ["runs:read", "runs:approve"]}
        made = given(client.post("/v1/keys", json=body), 201)
        assert made["scopes"] == [*Role.VIEWER.scopes, "runs:approve"]
        path = f"/v1/keys/{made['id']}"
        assert given(client.patch(path, json={"name": "y"}))["scopes"] == made["scopes"]
        changed = given(client.patch(path, json={"scopes": ["runs:read"]}))
        assert (changed["name"], changed["scopes"]) == ("y", ["runs:read"])
        assert client.patch(path, json={}).status_code == 422


def test_no_answer_but_the_first_has_the_text(
    api: ApiServer, redis_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The text of a key is in the answer that makes it, and nowhere in Redis, log or ledger."""
    with client_of(api, "acme", *Role.ADMIN.scopes) as client:
        made = given(client.post("/v1/keys", json={"name": "x", "role": "viewer"}), 201)
        new = given(client.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 60}))
        texts = [made["key"][8:51], new["key"][8:51]]
        with with_key(api, new["key"]) as other:
            other.get("/v1/runs")
        shown = client.get("/v1/keys").text + client.get(f"/v1/keys/{made['id']}").text
    with connect(redis_url) as redis:
        names: Any = redis.keys("*")
        kept = b"".join(redis.dump(name) or b"" for name in names) + repr(names).encode()
        inbox = repr(redis.xrange(keys.LEDGER_INBOX))
    logged = "".join(capfd.readouterr())
    for text in texts:
        assert text not in shown
        assert text.encode() not in kept
        assert text not in inbox
        assert text not in logged
