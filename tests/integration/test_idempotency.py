"""`Idempotency-Key`: whatever is sent again, and wherever a process dies, there is one run."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
import redis.asyncio

import moonsand
from core.errors import InFlight, KeyReused
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from runs.idempotency import Answer, Asked, Claim
from runs.redis_scripts import load
from tests import command
from tests.api_process import api_process
from tests.api_server import ApiServer
from tests.deadline import Deadline
from tests.flaky_redis import Fault, FlakyRedis

BODY = {"script": "return 1", "name": "once"}


def send(client: httpx2.Client, key: str, **body: Any) -> httpx2.Response:
    """Submit a run with a key."""
    return client.post("/v1/runs", json=BODY | body, headers={"Idempotency-Key": key})


def runs_of(client: httpx2.Client) -> list[Any]:
    """Give the tenant's runs."""
    found: list[Any] = client.get("/v1/runs").json()["data"]
    return found


def test_the_same_request_gets_the_first_answer_marked(client: httpx2.Client) -> None:
    """One run; the second answer is the first to the byte, and says that it is."""
    first, second = send(client, "k1"), send(client, "k1")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert len(runs_of(client)) == 1


def test_another_request_with_the_key_is_refused(client: httpx2.Client) -> None:
    """A key stands for one request, to the byte."""
    send(client, "k1")
    other = send(client, "k1", name="other")
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert len(runs_of(client)) == 1


def test_the_same_request_in_flight_is_a_conflict(client: httpx2.Client, api: ApiServer) -> None:
    """As long as the first has no answer the second is told to come back, and then gets it."""
    answers: list[httpx2.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(send(client, "k1", wait_s=20)))
    waiting.start()
    with httpx2.Client(base_url=api.url, headers=client.headers, trust_env=False) as second:
        (run,) = Deadline().until(lambda: runs_of(second))
        refused = send(second, "k1", wait_s=20)
        assert (refused.status_code, refused.json()["code"]) == (409, "in_flight")
        assert int(refused.headers["retry-after"]) >= 1
        second.post(f"/v1/runs/{run['id']}/cancel")
        waiting.join(10)
        again = send(second, "k1", wait_s=20)
    assert answers[0].status_code == again.status_code == 200
    assert answers[0].json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"


def test_fifty_at_once_make_one_run(client: httpx2.Client) -> None:
    """However many come together, one run is made, and nobody is told of another."""
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: send(client, "k1"), range(50)))
    counted = Counter(one.status_code for one in answers)
    assert set(counted) <= {202, 409}
    assert len(runs_of(client)) == 1
    assert len({one.json()["id"] for one in answers if one.status_code == 202}) == 1
    fresh = [one for one in answers if one.status_code == 202]
    assert sum("idempotent-replayed" not in one.headers for one in fresh) == 1


def test_keys_of_other_tenants_and_endpoints_are_others(
    client: httpx2.Client, api: ApiServer
) -> None:
    """A key is its tenant's own, and that of one address: who guesses one learns nothing."""
    send(client, "k1")
    with api.client("other") as other:
        answer = send(other, "k1", name="theirs")
    assert answer.status_code == 202
    assert "idempotent-replayed" not in answer.headers
    again = client.post("/v1/runs", json=BODY, headers={"Idempotency-Key": '"k1"'})
    assert again.headers["idempotent-replayed"] == "true"  # quotes mean nothing


@pytest.mark.parametrize(
    "value",
    [b"", b'""', b"a" * 256, b"a b", b"\xc3\xa9", b"\xff", b"a\tb", b"a" * 60_000],
    ids=["empty", "quoted empty", "long", "space", "UTF-8", "no UTF-8", "tab", "huge"],
)
def test_what_cannot_be_a_key_is_refused_and_nothing_runs(
    client: httpx2.Client, value: bytes
) -> None:
    """A key that two parties could read differently is none."""
    answer = client.post("/v1/runs", json=BODY, headers=[(b"Idempotency-Key", value)])
    assert answer.status_code in {422, 431}, answer.text
    if answer.status_code == 422:
        assert answer.json()["errors"][0]["header"] == "Idempotency-Key"
    assert runs_of(client) == []


def test_two_keys_in_one_request_are_refused(client: httpx2.Client) -> None:
    """Nobody has to guess which of two keys counts."""
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert client.post("/v1/runs", json=BODY, headers=headers).status_code == 422


def test_a_refused_request_leaves_its_key_free(client: httpx2.Client) -> None:
    """Nothing was made, so the corrected request may have the key."""
    wrong = send(client, "k1", script="return (", check=True)
    assert wrong.status_code == 422
    assert send(client, "k1").status_code == 202


def test_an_answer_with_a_result_is_not_kept_twice(
    client: httpx2.Client, redis_sync: redis.Redis
) -> None:
    """The result stands in the run's record only; the body that was sent stands nowhere."""
    answers: list[httpx2.Response] = []
    secret = "p4ssw0rd-in-the-script"
    thread = threading.Thread(
        target=lambda: answers.append(send(client, "k1", wait_s=20, input=secret))
    )
    thread.start()
    (run,) = Deadline().until(lambda: runs_of(client))
    client.post(f"/v1/runs/{run['id']}/cancel")
    thread.join(10)
    (name,) = redis_sync.keys("ms:idem:*")
    kept: Any = redis_sync.hgetall(name)
    assert kept[b"reference"].decode() == run["id"]
    assert kept[b"body"] == b""
    assert secret.encode() not in b"".join(kept.values())
    assert 86_000 < redis_sync.ttl(name) <= 86_400


@pytest.mark.parametrize("fault", [Fault.HOLD_BEFORE, Fault.HOLD_AFTER])
def test_an_api_that_is_killed_between_the_write_and_the_answer(
    redis_url: str, api: ApiServer, fault: Fault
) -> None:
    """Killed before the run was written or after: sent again, the request has one run."""
    key = api.new_key("acme")
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k1"}
    with (
        FlakyRedis(redis_url.removeprefix("unix://")) as wire,
        api_process(wire.url) as (process, url),
        httpx2.Client(base_url=url, trust_env=False, timeout=20) as first,
    ):
        Deadline().until(lambda: _serves(first), "the API")
        # From here on Redis knows the script by its digest.
        first.post("/v1/runs", json=BODY, headers=headers | {"Idempotency-Key": "k0"})
        wire.arm(fault, load("enqueue").sha1)
        broken = threading.Thread(target=_broken_post, args=(first, headers))
        broken.start()
        assert wire.struck.wait(10)
        process.kill()
        process.wait()
        broken.join(10)
    with api.client(None, Authorization=f"Bearer {key}") as second:
        before = len(runs_of(second))
        assert before == (2 if fault is Fault.HOLD_AFTER else 1)
        refused = send(second, "k1")
        assert (refused.status_code, refused.json()["code"]) == (409, "in_flight")
        answer = Deadline().until(
            lambda: (one := send(second, "k1")).status_code == 202 and one,
            "the lease's end",
            seconds=30,
        )
        assert isinstance(answer, httpx2.Response)
        assert ("idempotent-replayed" in answer.headers) == (fault is Fault.HOLD_AFTER)
        assert answer.json()["id"] in {run["id"] for run in runs_of(second)}
        assert len(runs_of(second)) == 2
        assert send(second, "k1").content == answer.content


def test_the_client_and_the_command_line_send_a_key(api: ApiServer, redis_url: str) -> None:
    """Who submits a script again with its key has the run of the first time."""
    key = api.new_key("acme")
    with moonsand.Client(api.url, key) as client:
        first = client.submit("return 1", idempotency_key="k1")
        assert client.submit("return 1", idempotency_key="k1") == first
        with pytest.raises(moonsand.KeyReused):
            client.submit("return 2", idempotency_key="k1")
        for wrong in ("", "a b", "\u00e9", "a" * 256):
            with pytest.raises(moonsand.Invalid, match="idempotency key"):
                client.submit("return 1", idempotency_key=wrong)
    asked = (
        "submit",
        "--eval",
        "return 1",
        "--idempotency-key",
        "k2",
        "--url",
        api.url,
        "--key",
        key,
    )
    ids = {command.moonsand(*asked).stdout for _ in range(2)}
    assert len(ids) == 1
    assert ids != {f"{first.id}\n"}


def test_two_api_processes_agree(api: ApiServer, redis_url: str) -> None:
    """Half of the same requests go to another process: still one run."""
    key = api.new_key("acme")
    with ApiServer(redis_url) as other, ThreadPoolExecutor(20) as pool:
        clients = [one.client(None, Authorization=f"Bearer {key}") for one in (api, other)]
        answers = list(pool.map(lambda n: send(clients[n % 2], "k1"), range(40)))
        assert {one.status_code for one in answers} <= {202, 409}
        assert len(runs_of(clients[0])) == 1
        for one in clients:
            one.close()


def _serves(client: httpx2.Client) -> bool:
    with suppress(httpx2.TransportError):
        return client.get("/healthz").is_success
    return False


def _broken_post(client: httpx2.Client, headers: dict[str, str]) -> None:
    with suppress(httpx2.TransportError):
        client.post("/v1/runs", json=BODY, headers=headers)


async def test_a_restart_of_redis_changes_nothing(tmp_path: Path) -> None:
    """Answers and keys in flight stand in Redis' file; who died is dead after it as before."""
    asked, other = (Asked("acme", "POST /v1/runs", name, b"digest") for name in ("k1", "k2"))
    with PrivateRedis(tmp_path) as server:
        async with connect_async(server.url) as client:
            done, left = await Claim.take(client, asked), await Claim.take(client, other)
            assert isinstance(done, Claim)
            assert isinstance(left, Claim)
            await done.keep(Answer(202, {"location": "/v1/runs/x"}, b"{}"))
            await left.let_go()
    with PrivateRedis(tmp_path) as server:
        async with connect_async(server.url) as client:
            assert await Claim.take(client, asked) == Answer(202, {"location": "/v1/runs/x"}, b"{}")
            again = await Claim.take(client, other)
            assert isinstance(again, Claim)
            assert not again.first
            assert again.new_id("run") == left.new_id("run")


async def test_who_was_taken_for_dead_changes_nothing(redis_async: redis.asyncio.Redis) -> None:
    """A process that wakes after its lease neither frees the key nor answers in its place."""
    asked = Asked("acme", "POST /v1/runs", "k1", b"digest")
    slow = await Claim.take(redis_async, asked)
    assert isinstance(slow, Claim)
    await slow.let_go()
    taken = await Claim.take(redis_async, asked)
    assert isinstance(taken, Claim)
    await slow.forget()
    await slow.keep(Answer(200, {}, b"slow"))
    with pytest.raises(InFlight):
        await Claim.take(redis_async, asked)
    await taken.keep(Answer(202, {}, b"taken"))
    assert await Claim.take(redis_async, asked) == Answer(202, {}, b"taken")
    with pytest.raises(KeyReused):
        await Claim.take(redis_async, Asked("acme", "POST /v1/runs", "k1", b"another"))
