"""Batches over HTTP: made whole or not at all, gone on with when broken off, read in item order."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import orjson
import pytest

from core import keys
from core.redis_client import connect_async
from moonsand import BatchClient
from runs.acceptance import Terms
from runs.batches.feeding import Feeder
from runs.store import RunStore
from tests.api_server import ApiServer
from tests.batch_lines import HEADER, NDJSON, lines

#: Each test has an empty Redis, also one that asks for no client.
pytestmark = pytest.mark.usefixtures("redis_url")


def feed(redis_url: str, batch_id: str) -> None:
    """Feed a batch once."""

    async def once() -> None:
        async with connect_async(redis_url) as redis:
            await Feeder(redis, Terms()).feed(batch_id)

    asyncio.run(once())


def cancel_all(redis_url: str, ids: list[str]) -> None:
    """End queued runs."""

    async def each() -> None:
        async with connect_async(redis_url) as redis:
            for one in ids:
                await RunStore(redis).cancel("acme", one)

    asyncio.run(each())


def results(client: httpx2.Client, batch_id: str, **params: Any) -> list[dict[str, Any]]:
    """Read the results of a batch."""
    answer = client.get(f"/v1/batches/{batch_id}/results", params=params)
    assert answer.status_code == 200, answer.text
    return [orjson.loads(line) for line in answer.text.splitlines()]


def test_a_batch_of_json_is_taken_fed_and_read(client: httpx2.Client, redis_url: str) -> None:
    """What one request brings becomes runs; its results stand in the order of items."""
    body = {
        "script": "return input",
        "concurrency": 2,
        "stop_after": 9,
        "name": "mine",
        "items": [{"input": 1, "id": "a"}, {"input": [2]}, {"script": "return 3"}],
    }

    made = client.post("/v1/batches", json=body)

    assert made.status_code == 202, made.text
    record = made.json()
    assert made.headers["Location"] == f"/v1/batches/{record['id']}"
    assert (record["status"], record["name"], record["stop_after"]) == ("running", "mine", 9)
    assert record["counts"]["received"] == record["counts"]["pending"] == 3
    feed(redis_url, record["id"])
    rows = results(client, record["id"])
    assert [row["status"] for row in rows] == ["queued", "queued", "pending"]
    assert [row["id"] for row in rows] == ["a", None, None]
    run = client.get(f"/v1/runs/{rows[0]['run']}").json()
    assert run["origin"] == {"kind": "batch", "id": record["id"]}
    assert client.get("/v1/batches").json()["data"][0]["id"] == record["id"]


def test_a_batch_of_lines_is_taken_as_it_comes(client: httpx2.Client) -> None:
    """NDJSON, in pieces that end anywhere; the first line may have the batch's terms."""
    whole = HEADER + lines(1_000) + b"\n\n"
    pieces = [whole[at : at + 777] for at in range(0, len(whole), 777)]

    made = client.post("/v1/batches", content=iter(pieces), headers=NDJSON)

    assert made.status_code == 202, made.text
    assert made.json()["counts"]["received"] == 1_000
    assert made.json()["concurrency"] == 4
    rows = results(client, made.json()["id"], **{"from": 990})
    assert [row["id"] for row in rows] == [f"i{number}" for number in range(990, 1_000)]
    assert {row["status"] for row in rows} == {"pending"}


def test_a_result_is_one_line_whatever_it_holds(api: ApiServer, redis_url: str) -> None:
    """JSON leaves some line separators of Unicode as they are: a client must, too."""
    odd, key = "a\u2028b\u2029c\x85d", api.new_key("acme")

    async def read() -> list[Any]:
        async with (
            BatchClient(api.url, key) as batches,
            connect_async(redis_url) as redis,
        ):
            made = await batches.create({"script": "return input"})
            await batches.add_items(made.id, 0, [{"input": odd}, {"input": 2}])
            await Feeder(redis, Terms()).feed(made.id)
            for row in [row async for row in batches.results(made.id)]:
                text = await redis.hget(keys.run(row.run or ""), "input")
                ended = ("state", "succeeded", "reason", "ok", "result", text or b"")
                await redis.hset(keys.run(row.run or ""), items=[*ended])
            return [row.result async for row in batches.results(made.id)]

    assert asyncio.run(read()) == [odd, 2]


def test_without_a_script_each_item_needs_one(client: httpx2.Client) -> None:
    """Scripts instead of inputs; one that is missing is told with its line."""
    good = b'{"script":"return 1"}\n'

    assert client.post("/v1/batches", content=good, headers=NDJSON).status_code == 202
    bad = client.post("/v1/batches", content=good + b'{"input":1}\n', headers=NDJSON)

    assert bad.status_code == 422
    (error,) = bad.json()["errors"]
    assert error["pointer"] == "/items/1/script"
    assert "line 2: the batch has no script" in error["detail"]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (HEADER, 422, "at least one item"),
        (b"", 422, "at least one item"),
        (HEADER + b'{"input":1}\n{"input":', 400, "line 3"),
        (HEADER + b"\xff\xfe\n", 400, "line 2"),
        (HEADER + b"[1]\n", 422, "line 2: an item must be a JSON object"),
        (HEADER + b'{"imput":1}\n', 422, "line 2: there is no such name"),
        (HEADER + b'{"input":1,"input":2}\n', 400, "line 2: the name 'input' stands twice"),
        (HEADER + b'{"id":"a"}\n{"id":"a"}\n', 422, "item 0 has this id already"),
        (HEADER + b'{"id":""}\n', 422, "line 2"),
        (HEADER + b'{"limits":{"calls":-1}}\n', 422, "line 2: limit calls must be 0"),
        (HEADER + b'{"input":' + b"[" * 100 + b"]" * 100 + b"}\n", 422, "line 2: the input is nes"),
        (HEADER + b'{"input":99999999999999999999}\n', 422, "line 2: the integer does not fit"),
        (b'{"batch":{"script":"return 1","cocurrency":4}}\n{}\n', 422, "no such name"),
        (b'{"batch":{"script":"return 1","concurrency":0}}\n{}\n', 422, "greater than or equal"),
        (b'{"batch":{"script":"return 1","grants":["mux:frob"]}}\n{}\n', 422, '"/batch/grants/0"'),
        (b'{"batch":{"script":"return 1","limits":{"x":1}}}\n{}\n', 422, '"/batch/limits/x"'),
        (b'{"batch":{"script":"return 1","count":2}}\n{}\n', 422, "was to have 2 items"),
        (b'{"batch":{"script":"return 1"},"x":1}\n{}\n', 422, "has nothing else"),
        (b'{"batch":{"script":"return 1","mode":"apply"}}\n{}\n', 422, "run' or 'plan"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_nothing(
    client: httpx2.Client, body: bytes, status: int, word: str
) -> None:
    """A batch is refused whole, with the line that is wrong."""
    refused = client.post("/v1/batches", content=body, headers=NDJSON)

    assert refused.status_code == status, refused.text
    assert word in refused.text
    assert client.get("/v1/batches").json()["data"] == []


def test_compressed_bodies_and_other_types_are_refused(client: httpx2.Client) -> None:
    """Nothing is decompressed, and nothing guessed."""
    for headers in (NDJSON | {"Content-Encoding": "gzip"}, {"Content-Type": "text/plain"}):
        answer = client.post("/v1/batches", content=lines(1), headers=headers)
        assert answer.status_code == 415, answer.text


def test_a_line_longer_than_any_item_is_refused(client: httpx2.Client) -> None:
    """However long, no more than one line is held."""
    piece = b"x" * 1_000_000

    refused = client.post(
        "/v1/batches", content=(piece for _ in range(8)), headers=NDJSON, timeout=60
    )

    assert refused.status_code == 413
    assert "line 1 has more than" in refused.text


def test_a_batch_has_a_bound(client: httpx2.Client) -> None:
    """One item more than 100,000 is refused, and nothing of the batch is left."""
    body = HEADER + b"{}\n" * 100_001

    refused = client.post("/v1/batches", content=body, headers=NDJSON, timeout=60)

    assert refused.status_code == 413
    assert "at most 100000 items" in refused.text
    assert client.get("/v1/batches").json()["data"] == []


def test_the_same_key_gives_the_same_batch(client: httpx2.Client) -> None:
    """Sent again it is not made again; other items or terms under the key are refused."""
    headers = NDJSON | {"Idempotency-Key": "k-1"}
    first = client.post("/v1/batches", content=HEADER + lines(300), headers=headers)

    again = client.post("/v1/batches", content=HEADER + lines(300), headers=headers)
    fewer = client.post("/v1/batches", content=HEADER + lines(299), headers=headers)
    more = client.post("/v1/batches", content=HEADER + lines(301), headers=headers)
    other = client.post("/v1/batches", content=lines(300), headers=headers)

    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert again.json()["id"] == first.json()["id"]
    assert [one.status_code for one in (fewer, more, other)] == [422] * 3
    assert fewer.json()["code"] == "idempotency_key_reused"
    assert len(client.get("/v1/batches").json()["data"]) == 1


def test_a_batch_is_cancelled_once(client: httpx2.Client, redis_url: str) -> None:
    """Nothing more is started; what was on its way is cancelled by whoever feeds."""
    made = client.post("/v1/batches", content=HEADER + lines(10), headers=NDJSON).json()
    feed(redis_url, made["id"])

    stopped = client.post(f"/v1/batches/{made['id']}/cancel")
    assert (stopped.status_code, stopped.json()["status"]) == (202, "cancelling")
    feed(redis_url, made["id"])

    now = client.get(f"/v1/batches/{made['id']}").json()
    assert (now["status"], now["stopped_by"]) == ("cancelled", "cancel")
    assert (now["counts"]["cancelled"], now["counts"]["skipped"]) == (4, 6)
    assert client.post(f"/v1/batches/{made['id']}/cancel").status_code == 200
    states = [row["status"] for row in results(client, made["id"])]
    assert states == ["cancelled"] * 4 + ["skipped"] * 6


def test_only_the_key_that_began_a_batch_fills_it(api: ApiServer, client: httpx2.Client) -> None:
    """Its runs may call what that key may: a lesser key of the same tenant puts nothing in."""
    headers = NDJSON | {"Idempotency-Key": "k"}
    begun = client.post(
        "/v1/batches", json={"script": "return 1"}, headers={"Idempotency-Key": "k"}
    )
    path = f"/v1/batches/{begun.json()['id']}"

    with api.client("acme") as other:
        added = other.post(f"{path}/items", params={"from": 0}, content=lines(1), headers=NDJSON)
        terms = b'{"batch":{"script":"return 1"}}\n'
        again = other.post("/v1/batches", content=terms + lines(1), headers=headers)

    assert (added.status_code, again.status_code) == (403, 403)
    assert client.get(path).json()["counts"]["received"] == 0


def test_another_tenants_batch_is_no_batch(api: ApiServer, client: httpx2.Client) -> None:
    """Not found is all that a tenant learns of another's batches, by whatever it asks."""
    made = client.post("/v1/batches", content=HEADER + lines(2), headers=NDJSON).json()
    with api.client("other") as other:
        for batch_id in (made["id"], "bat_" + "0" * 26, "bat_x", "..%2F.."):
            path = f"/v1/batches/{batch_id}"
            answers = [
                other.get(path),
                other.get(f"{path}/results"),
                other.post(f"{path}/cancel"),
                other.post(f"{path}/items", params={"from": 2}, content=b"{}", headers=NDJSON),
            ]
            assert {one.status_code for one in answers} == {404}, batch_id
        assert other.get("/v1/batches").json()["data"] == []
    assert client.get(f"/v1/batches/{made['id']}").json()["status"] == "running"


def test_identical_batches_at_once_make_one(api: ApiServer) -> None:
    """Each is told of the one batch, or that another request is making it."""
    headers = NDJSON | {"Idempotency-Key": "k", "Authorization": f"Bearer {api.new_key('acme')}"}
    body = HEADER + lines(450)
    with (
        httpx2.Client(base_url=api.url, headers=headers, trust_env=False, timeout=30) as client,
        ThreadPoolExecutor(14) as threads,
    ):
        posts = [threads.submit(client.post, "/v1/batches", content=body) for _ in range(50)]
        answers = [post.result() for post in posts]
        last = client.post("/v1/batches", content=body)
        listed = client.get("/v1/batches").json()["data"]

    assert {one.status_code for one in answers} <= {200, 202, 409}
    assert last.status_code == 200
    assert {one.json()["id"] for one in answers if one.is_success} == {last.json()["id"]}
    assert [(one["id"], one["counts"]["received"]) for one in listed] == [(last.json()["id"], 450)]
