"""Saved scripts and schedules over HTTP: who may, what is answered, and what is wrong where."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from runs.acceptance import Terms
from runs.batches.feeding import Feeder
from tenancy.scopes import Scope
from tests.api_server import ApiServer
from triggers.saved import Resolved
from triggers.scripts import SavedScripts

ALL = (
    *(Scope.READ, Scope.WRITE, Scope.SCRIPTS_WRITE),
    *(Scope.TRIGGERS_READ, Scope.TRIGGERS_WRITE),
)
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "m": {"maximum": 3}},
    "required": ["n"],
}


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """A service without a worker."""
    with connect(redis_server.url) as redis:
        redis.flushall()
    with ApiServer(redis_server.url) as served:
        yield served


def with_key(api: ApiServer, *scopes: Scope, tenant: str = "acme") -> httpx2.Client:
    """Make a client of a new key."""
    return api.client(authorization=f"Bearer {api.new_key(tenant, scopes or ALL)}")


@pytest.fixture
def client(api: ApiServer, redis_url: str) -> Iterator[httpx2.Client]:
    """A client that may do everything, over an empty Redis."""
    with with_key(api) as made:
        yield made


def save(client: httpx2.Client, script: str = "return 1", **more: Any) -> httpx2.Response:
    """Save a version of `job`."""
    return client.post("/v1/scripts", json={"name": "job", "script": script, **more})


def test_a_script_is_saved_shown_and_run(client: httpx2.Client) -> None:
    """A new version is 201, the same again 200; what runs is what was saved."""
    made = save(client, limits={"calls": 5}, note="first", alias="prod")
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/scripts/job/versions/1"
    assert save(client, limits={"calls": 5}).status_code == 200
    assert save(client, "return 2").json()["version"] == 2

    shown = client.get("/v1/scripts/job").json()
    assert (shown["latest"], shown["aliases"]) == (2, {"prod": 1})
    assert [one["version"] for one in client.get("/v1/scripts/job/versions").json()["data"]] == [
        *(2, 1)
    ]
    for which, text in (("1", "return 1"), ("prod", "return 1"), ("latest", "return 2")):
        assert client.get(f"/v1/scripts/job/versions/{which}").json()["script"] == text

    run = client.post("/v1/runs", json={"script_ref": "job@prod", "limits": {"depth": 9}}).json()
    assert (run["script_ref"], run["name"], run["origin"]) == ("job@1", "job@1", None)
    assert (run["limits"]["calls"], run["limits"]["depth"]) == (5, 9)
    assert client.get("/v1/runs").json()["data"][0]["script_ref"] == "job@1"


def test_what_is_wrong_in_an_input_is_told_with_its_places(client: httpx2.Client) -> None:
    """One error for each wrong value, by its pointer into the request."""
    save(client, input_schema=SCHEMA)
    answer = client.post("/v1/runs", json={"script_ref": "job", "input": {"m": 4, "n": "1"}})
    assert answer.status_code == 422
    told = {one["pointer"]: one["detail"] for one in answer.json()["errors"]}
    assert told == {
        "/input/m": "4 is greater than the maximum of 3",
        "/input/n": '"1" is not of type "integer"',
    }
    assert "schema of job@1" in answer.json()["hint"]
    good = client.post("/v1/runs", json={"script_ref": "job", "input": {"n": 1}})
    assert good.status_code == 202


def batch(client: httpx2.Client, *items: Any, key: str = "", **terms: Any) -> httpx2.Response:
    """Make a batch of inputs for a saved script."""
    headers = {"Idempotency-Key": key} if key else {}
    body = {**terms, "items": [{"input": one} for one in items]}
    return client.post("/v1/batches", json=body, headers=headers)


def test_a_batch_names_one_script(client: httpx2.Client) -> None:
    """A saved one or its text; each input is held to the schema, each wrong value told."""
    save(client, input_schema=SCHEMA, alias="prod")

    made = batch(client, {"n": 1}, {"n": 2}, script_ref="job@prod")
    assert (made.status_code, made.json()["name"]) == (202, "job@1"), made.text
    wrong = batch(client, {"n": 1}, {"n": "1", "m": 4}, script_ref="job")
    assert {one["pointer"] for one in wrong.json()["errors"]} == {
        "/items/1/input/m",
        "/items/1/input/n",
    }
    both = batch(client, {"n": 1}, script_ref="job", script="return 1")
    gone = batch(client, {"n": 1}, script_ref="job@9")
    for one in (wrong, both, gone):
        assert one.status_code == 422
    assert both.json()["errors"][0]["pointer"] == gone.json()["errors"][0]["pointer"]
    assert both.json()["errors"][0]["pointer"] == "/script_ref"


def test_a_batch_looks_its_script_up_once(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted just after that, it costs nothing: no batch is left half begun."""
    save(client, input_schema=SCHEMA)
    look_up = SavedScripts.resolve

    async def then_delete(scripts: SavedScripts, tenant: str, *which: Any) -> Resolved:
        found = await look_up(scripts, tenant, *which)
        await scripts.delete(tenant, "job")
        return found

    monkeypatch.setattr(SavedScripts, "resolve", then_delete)
    made = batch(client, {"n": 1}, script_ref="job")

    assert made.status_code == 202, made.text
    assert [one["status"] for one in client.get("/v1/batches").json()["data"]] == ["running"]


def test_runs_of_a_batch_say_which_version_they_were(client: httpx2.Client, redis_url: str) -> None:
    """Text, limits and name are the script's as it was when the batch was made."""
    save(client, limits={"calls": 5}, alias="prod")
    made = batch(client, 1, 2, script_ref="job@prod", limits={"depth": 9}).json()
    save(client, "return 2", alias="prod")

    async def feed() -> int:
        async with connect_async(redis_url) as redis:
            return (await Feeder(redis, Terms()).feed(made["id"])).count

    assert asyncio.run(feed()) == 2
    for run in client.get("/v1/runs").json()["data"]:
        shown = client.get(f"/v1/runs/{run['id']}").json()
        assert (shown["script_ref"], shown["name"]) == ("job@1", "job@1")
        assert (shown["limits"]["calls"], shown["limits"]["depth"]) == (5, 9)
        assert shown["script_sha256"] == hashlib.sha256(b"return 1").hexdigest()


def test_a_batch_that_is_sent_again_is_the_one_that_was_made(client: httpx2.Client) -> None:
    """Also when its alias was moved in between, or its script deleted."""
    save(client, alias="prod")
    made = batch(client, 1, 2, key="k", script_ref="job@prod").json()
    save(client, "return 2", alias="prod")

    again = batch(client, 1, 2, key="k", script_ref="job@prod")
    assert (again.status_code, again.json()["id"]) == (200, made["id"]), again.text
    assert client.delete("/v1/scripts/job").status_code == 204
    again = batch(client, 1, 2, key="k", script_ref="job@prod")
    assert (again.status_code, again.json()["id"]) == (200, made["id"]), again.text
    assert batch(client, 1, key="k", script_ref="job@prod").json()["code"] == (
        "idempotency_key_reused"
    )
    other = batch(client, 1, 2, key="k", script_ref="job@1")
    assert other.status_code == 422


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/script"),
        ({"script": "return 1", "script_ref": "job"}, "/script_ref"),
        ({"script_ref": "nobody"}, "/script_ref"),
        ({"script_ref": "job@9"}, "/script_ref"),
        ({"script_ref": "../job"}, "/script_ref"),
        ({"script_ref": 1}, "/script_ref"),
        ({"script_ref": "job", "mode": "apply", "plan": "run_x"}, "/script_ref"),
        ({"script_ref": "job", "limits": {"calls": -1}}, "/limits/calls"),
    ],
)
def test_a_submission_names_one_script(
    client: httpx2.Client, body: dict[str, Any], pointer: str
) -> None:
    """Its text or its name, and one that there is."""
    save(client)
    answer = client.post("/v1/runs", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "Job", "script": "return 1"}, "/name"),
        ({"name": "job"}, "/script"),
        ({"name": "job", "script": ""}, "/script"),
        ({"name": "job", "script": "return 1", "alias": "latest"}, "/alias"),
        ({"name": "job", "script": "return 1", "limits": {"cals": 1}}, "/limits/cals"),
        ({"name": "job", "script": "return 1", "grants": ["deny:mux.nothing"]}, "/grants/0"),
        ({"name": "job", "script": "return 1", "nmae": 1}, "/nmae"),
        ({"name": "job", "script": "return 1", "note": "a\nb"}, "/note"),
        ({"name": "job", "script": "return (", "check": True}, "/script"),
        (
            {"name": "job", "script": "return 1", "input_schema": {"$ref": "http://127.0.0.1/x"}},
            "/input_schema/$ref",
        ),
    ],
)
def test_what_cannot_be_saved_is_told_with_its_place(
    client: httpx2.Client, body: dict[str, Any], pointer: str
) -> None:
    """Nothing is kept of it."""
    answer = client.post("/v1/scripts", json=body)
    assert answer.status_code == 422
    assert (answer.json()["errors"][0]["pointer"] or "/script") == pointer
    assert client.get("/v1/scripts").json()["data"] == []


def test_scripts_are_listed_moved_and_deleted(client: httpx2.Client) -> None:
    """Pages by name; aliases are moved and deleted; a version in use stays."""
    for name in ("c", "a", "b"):
        client.post("/v1/scripts", json={"name": name, "script": "return 1"})
    page = client.get("/v1/scripts", params={"limit": 2})
    assert [one["name"] for one in page.json()["data"]] == ["a", "b"]
    rest = client.get(page.links["next"]["url"])
    assert ([one["name"] for one in rest.json()["data"]], rest.json()["has_more"]) == (["c"], False)

    save(client), save(client, "return 2")
    moved = client.put("/v1/scripts/job/aliases/prod", json={"version": 1})
    assert moved.json()["aliases"] == {"prod": 1}
    assert client.delete("/v1/scripts/job/versions/1").status_code == 409
    assert client.put("/v1/scripts/job/aliases/prod", json={"version": 7}).status_code == 422
    assert client.delete("/v1/scripts/job/aliases/prod").status_code == 204
    assert client.delete("/v1/scripts/job/aliases/prod").status_code == 404
    assert client.delete("/v1/scripts/job/versions/1").status_code == 204
    assert client.delete("/v1/scripts/job").status_code == 204
    assert client.get("/v1/scripts/job").status_code == 404


def test_a_schedule_is_made_changed_and_deleted(client: httpx2.Client) -> None:
    """What was said comes back, with when it fires next."""
    save(client)
    made = client.post(
        "/v1/schedules",
        json={"script_ref": "job@1", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"},
    )
    assert made.status_code == 201
    one = made.json()
    assert made.headers["location"] == f"/v1/schedules/{one['id']}"
    assert (one["state"], one["cron"], one["overlap"]) == ("active", "30 2 * * *", "skip")
    assert one["next_fire_ms"] > one["created_ms"]
    where = f"/v1/schedules/{one['id']}"
    paused = client.patch(where, json={"state": "paused"}).json()
    assert (paused["state"], paused["next_fire_ms"]) == ("paused", None)
    changed = client.patch(where, json={"every_s": 60, "state": "active", "input": [1]}).json()
    assert (changed["cron"], changed["every_s"], changed["input"]) == (None, 60, [1])
    assert client.get(where).json() == changed
    assert client.get(f"{where}/fires").json() == {"data": []}
    assert [row["id"] for row in client.get("/v1/schedules").json()["data"]] == [one["id"]]
    assert client.delete(where).status_code == 204
    assert client.get(where).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"script_ref": "job"}, "/cron"),
        ({"cron": "@daily"}, "/script_ref"),
        ({"script_ref": "nobody", "cron": "@daily"}, "/script_ref"),
        ({"script_ref": "job", "cron": "0 0 31 2 *"}, "/cron"),
        ({"script_ref": "job", "cron": "@daily", "time_zone": "Europe/Berln"}, "/time_zone"),
        ({"script_ref": "job", "every_s": 0}, "/every_s"),
        ({"script_ref": "job", "every_s": 1, "overlap": "stack"}, "/overlap"),
        ({"script_ref": "job", "every_s": 1, "missed_max": 10**9}, "/missed_max"),
        ({"script_ref": "job", "every_s": 1, "grants": ["mux", "deny:mux.nothing"]}, "/grants/1"),
        ({"script_ref": "job", "every_s": 1, "overlapp": "skip"}, "/overlapp"),
    ],
)
def test_what_is_no_schedule_is_told_with_its_place(
    client: httpx2.Client, body: dict[str, Any], pointer: str
) -> None:
    """Nothing is kept of it."""
    save(client)
    answer = client.post("/v1/schedules", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert client.get("/v1/schedules").json()["data"] == []


def test_an_input_too_large_for_a_schedule_is_refused(client: httpx2.Client) -> None:
    """It is stored once and sent at every fire."""
    save(client)
    body = {"script_ref": "job", "every_s": 1, "input": "x" * 70_000}
    assert client.post("/v1/schedules", json=body).status_code == 413


def test_scopes_hold(api: ApiServer, client: httpx2.Client) -> None:
    """Who starts something by a schedule must be allowed to start it."""
    save(client)
    draft = {"script_ref": "job", "every_s": 60}
    where = client.post("/v1/schedules", json=draft).headers["location"]
    with with_key(api, Scope.READ, Scope.WRITE) as plain:
        assert save(plain).status_code == 403
        assert plain.get("/v1/scripts/job").status_code == 200
        assert plain.delete("/v1/scripts/job").status_code == 403
        assert plain.get(where).status_code == 403
        assert plain.post("/v1/schedules", json=draft).status_code == 403
    with with_key(api, Scope.TRIGGERS_READ, Scope.TRIGGERS_WRITE) as trigger:
        assert trigger.get(where).status_code == 200
        assert trigger.post("/v1/schedules", json=draft).status_code == 403
        assert trigger.patch(where, json={"input": 1}).status_code == 403
    with api.client() as nobody:
        assert nobody.get("/v1/scripts").status_code == 401


def test_another_tenant_sees_nothing(api: ApiServer, client: httpx2.Client) -> None:
    """The answers are those to names and ids that never were."""
    save(client)
    where = client.post("/v1/schedules", json={"script_ref": "job", "every_s": 60}).headers[
        "location"
    ]
    never = "/v1/schedules/sch_" + "0" * 26
    with with_key(api, tenant="other") as other:
        for path, unknown in (("/v1/scripts/job", "/v1/scripts/jib"), (where, never)):
            mine, none = other.get(path), other.get(unknown)
            assert (mine.status_code, none.status_code) == (404, 404)
            assert mine.json()["detail"].replace("job", "jib") == none.json()["detail"]
        assert other.post("/v1/runs", json={"script_ref": "job"}).status_code == 422
