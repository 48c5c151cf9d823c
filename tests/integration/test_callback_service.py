"""Callbacks as a service: over HTTP, sent by scheduler processes that are killed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2
import pytest
import redis

from core import keys
from core.ids import new_id
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from tenancy.master_keys import new_line
from tenancy.scopes import Scope
from tests import warm
from tests.api_server import ApiServer
from tests.callback_receiver import Receiver, receiver, status
from tests.deadline import Deadline
from triggers.saved import ScriptDraft, check_draft
from triggers.scripts import SavedScripts

ALL = (Scope.READ, Scope.WRITE, Scope.TRIGGERS_READ, Scope.TRIGGERS_WRITE)
LINE = new_line("k1")


class Service(NamedTuple):
    """An API, a client of a tenant, and its Redis."""

    api: ApiServer
    client: httpx2.Client
    redis_url: str

    def endpoint(self, url: str | None) -> dict[str, Any]:
        """Make an endpoint, with its secret."""
        body = {"name": "ops"} if url is None else {"name": "ops", "url": url}
        answer = self.client.post("/v1/callbacks", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def run(self, callback: str) -> str:
        """Submit a run and cancel it, so that it ends without a worker."""
        answer = self.client.post("/v1/runs", json={"script": "return 1", "callback": callback})
        assert answer.status_code == 202, answer.text
        run: str = answer.json()["id"]
        assert self.client.post(f"/v1/runs/{run}/cancel").status_code == 200
        return run


@pytest.fixture(scope="module")
def served(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API that lets callbacks come to this machine."""
    with ApiServer(redis_server.url, trigger_keys=LINE, callback_loopback=True) as api:
        yield api


@pytest.fixture
def service(served: ApiServer, redis_sync: redis.Redis, redis_url: str) -> Iterator[Service]:
    """The API on an empty Redis."""
    with served.client(Authorization=f"Bearer {served.new_key('acme', ALL)}") as client:
        yield Service(served, client, redis_url)


@contextmanager
def listening() -> Iterator[Receiver]:
    """Let a receiver listen in a thread of its own."""
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    made: list[Receiver] = []

    async def serve() -> None:
        async with receiver() as one:
            made.append(one)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextmanager
def scheduler(redis_url: str) -> Iterator[warm.WarmProcess]:
    """Run a scheduler process that may send to this machine; kill it at the end."""
    process = warm.start(
        "moonsand",
        "scheduler",
        env={
            "PATH": os.environ["PATH"],
            "REDIS_URL": redis_url,
            "MOONSAND_TRIGGER_KEYS": LINE,
            "MOONSAND_CALLBACK_LOOPBACK": "true",
            "MOONSAND_LOG_LEVEL": "warning",
        },
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def delivered(service: Service, endpoint: str) -> list[dict[str, Any]]:
    """List what was delivered to an endpoint."""
    answer = service.client.get(f"/v1/callbacks/{endpoint}/deliveries").json()
    return [one for one in answer["data"] if one["state"] == "delivered"]


def test_a_run_that_ends_is_told_of_by_the_scheduler(service: Service, deadline: Deadline) -> None:
    """Endpoint and inline address: signed requests, a log over HTTP, and replay by hand."""
    with listening() as got, scheduler(service.redis_url):
        named, inline = service.endpoint(f"{got.url}/named"), service.endpoint(None)
        first = service.run(named["id"])
        second = service.run(f"{got.url}/inline?x=1")
        deadline.until(lambda: len(got.got) == 2, "both callbacks", seconds=30)
        (one,) = deadline.until(lambda: delivered(service, named["id"]), "the log")
        assert (one["subject"], one["attempts"], one["log"][0]["status"]) == (first, 1, 204)
        shown = service.client.get(f"/v1/deliveries/{one['id']}").json()
        assert shown == one
        again = service.client.post(f"/v1/deliveries/{one['id']}/replay")
        assert again.status_code == 202
        deadline.until(lambda: len(got.got) == 3, "the replay")

    by_path = {one.path: one for one in got.got}
    assert by_path["/named"].data["id"] == first
    assert by_path["/inline?x=1"].data["id"] == second
    assert by_path["/named"].check(named["secret"]) == 0
    assert by_path["/inline?x=1"].check(inline["secret"]) == 0
    assert [one.id for one in got.got if one.path == "/named"] == [one["id"]] * 2


def test_a_scheduler_that_is_killed_loses_no_callback(service: Service, deadline: Deadline) -> None:
    """Killed with requests under way; the next one sends all of them, each under its own id."""
    with listening() as got:
        endpoint = service.endpoint(got.url)
        got.answer = lambda _: None
        runs = {service.run(endpoint["id"]) for _ in range(5)}
        with scheduler(service.redis_url) as first:
            deadline.until(lambda: got.waiting > 0, "a request under way", seconds=30)
            first.kill()
            first.wait(10)
        got.answer = lambda _: status(204)
        _end_leases(service.redis_url, endpoint["id"])
        with scheduler(service.redis_url), scheduler(service.redis_url):
            deadline.until(
                lambda: len(delivered(service, endpoint["id"])) == 5, "all five", seconds=30
            )

    told = {str(one["subject"]) for one in delivered(service, endpoint["id"])}
    assert told == runs
    assert {one.data["id"] for one in got.got} == runs


def _end_leases(redis_url: str, endpoint: str) -> None:
    # What the passing of half a minute does.
    with redis.Redis.from_url(redis_url) as client:
        lane = keys.callback_lane(endpoint)
        ids: Any = client.zrange(lane, 0, -1)
        client.zadd(lane, dict.fromkeys(ids, 1))
        client.zadd(keys.callback_lanes("acme"), {endpoint: 1})
        client.zadd(keys.CALLBACKS_DUE, {"acme": 1})
        client.delete(keys.callback_flight("acme"))


def test_a_batch_tells_of_its_own_end(service: Service, deadline: Deadline) -> None:
    """One callback for the batch, with its counts, when the last of its runs has ended."""
    with listening() as got, scheduler(service.redis_url):
        endpoint = service.endpoint(got.url)
        batch = service.client.post(
            "/v1/batches",
            json={"script": "return 1", "callback": endpoint["id"], "items": [{"input": 1}] * 3},
        )
        assert batch.status_code == 202, batch.text
        name = batch.json()["id"]
        service.client.post(f"/v1/batches/{name}/cancel")
        deadline.until(lambda: got.got, "the callback", seconds=30)

    (one,) = got.got
    assert one.check(endpoint["secret"]) == 0
    assert (one.data["id"], one.data["state"], one.data["items"]) == (name, "cancelled", 3)
    assert one.data["links"] == {"self": f"/v1/batches/{name}"}


def test_a_schedule_hands_its_callback_to_its_runs(service: Service, deadline: Deadline) -> None:
    """Each run that it starts is told of; what is no endpoint is refused when it is set up."""
    _save(service.redis_url)
    endpoint = service.endpoint("https://example.com/")
    body = {"script_ref": "job", "every_s": 1, "callback": "clb_x"}
    refused = service.client.post("/v1/schedules", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/callback")
    made = service.client.post("/v1/schedules", json={**body, "callback": endpoint["id"]}).json()
    assert made["callback"] == endpoint["id"]
    with scheduler(service.redis_url):
        run, *_ = deadline.until(
            lambda: service.client.get("/v1/runs").json()["data"], "its run", seconds=30
        )
    shown = service.client.get(f"/v1/runs/{run['id']}").json()
    assert shown["callback"] == endpoint["id"]
    path = f"/v1/schedules/{made['id']}"
    cleared = service.client.patch(path, json={"callback": None})
    assert cleared.json()["callback"] is None


def _save(redis_url: str) -> None:
    async def save() -> None:
        async with connect_async(redis_url) as client:
            checked = check_draft(ScriptDraft(name="job", script="return 1"))
            await SavedScripts(client).save("acme", checked, key_id="key_x")

    asyncio.run(save())


def test_who_may_do_what_with_callbacks(service: Service) -> None:
    """Scopes for reading and writing; foreign ids answer like ids that never were."""
    endpoint = service.endpoint("https://example.com/")
    path = f"/v1/callbacks/{endpoint['id']}"
    for scopes, reads, writes in (
        ((Scope.READ, Scope.WRITE), 403, 403),
        ((Scope.TRIGGERS_READ,), 200, 403),
        ((Scope.TRIGGERS_WRITE,), 403, 200),
    ):
        key = service.api.new_key("acme", scopes)
        with service.api.client(Authorization=f"Bearer {key}") as client:
            assert client.get(path).status_code == reads, scopes
            assert client.patch(path, json={"name": "n"}).status_code == writes, scopes
            # Results of runs go there: who may not read them sends them nowhere else.
            assert client.patch(path, json={"url": "https://example.org/"}).status_code == 403
    foreign = service.api.new_key("other", ALL)
    with service.api.client(Authorization=f"Bearer {foreign}") as client:
        for one in (endpoint["id"], new_id("clb"), "x"):
            other = f"/v1/callbacks/{one}"
            answers = [
                client.get(other),
                client.patch(other, json={"enabled": False}),
                client.delete(other),
                client.post(f"{other}/secrets"),
                client.get(f"{other}/deliveries"),
            ]
            assert {answer.status_code for answer in answers} == {404}
        for one in (new_id("dlv"), "x"):
            assert client.get(f"/v1/deliveries/{one}").status_code == 404
            assert client.post(f"/v1/deliveries/{one}/replay").status_code == 404
        answer = client.post("/v1/runs", json={"script": "return 1", "callback": endpoint["id"]})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/callback")
        assert client.get("/v1/runs").json()["data"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x", "url": "https://10.0.0.1/"}, "/url"),
        ({"name": "x", "url": 1}, "/url"),
        ({"name": ""}, "/name"),
        ({}, "/name"),
        ({"name": "x", "uri": "https://example.com/"}, "/uri"),
    ],
)
def test_wrong_endpoints_are_said_with_their_place(
    service: Service, body: dict[str, object], pointer: str
) -> None:
    """422 with a pointer, and nothing is kept."""
    answer = service.client.post("/v1/callbacks", json=body)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert service.client.get("/v1/callbacks").json()["data"] == []


def test_a_plan_that_is_applied_takes_no_callback_of_its_own(service: Service) -> None:
    """`apply` names what the plan was made of; a callback would be something else."""
    body = {"mode": "apply", "plan": new_id("run"), "callback": "clb_x"}
    answer = service.client.post("/v1/runs", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/callback"
