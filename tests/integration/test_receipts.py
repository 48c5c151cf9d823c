"""Receipts over HTTP: they hold from outside, are nobody else's, and are plain about `not yet`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from core import keys
from core.errors import Invalid
from core.ids import new_id
from ledger.receipts import check_receipt
from tests.api_server import ApiServer
from tests.archive_kinds import DIRECTORY, IN_BUCKET, place_of
from tests.archives import true_run
from tests.sequencing import KEY, ended_run, plain, taking


@pytest.fixture
def api(redis_url: str, tmp_path: Path) -> Iterator[ApiServer]:
    """An API that reads the archive in `tmp_path`."""
    with ApiServer(redis_url, ledger_dir=tmp_path) as server:
        yield server


@pytest.fixture
def acme(api: ApiServer) -> Iterator[httpx2.Client]:
    """A client of tenant acme."""
    with api.client("acme") as made:
        yield made


def sequence(client: redis.Redis, directory: Path) -> None:
    """Take all that stands in the inbox, and sign."""
    with taking(client, directory) as one:
        one.drain()


def test_a_receipt_holds_against_the_key_alone(
    acme: httpx2.Client, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """Leaves, proofs, tape and checkpoint of a receipt agree, and it is there after the run."""
    plain(redis_sync, 300)
    run = ended_run(redis_sync, calls=3)
    plain(redis_sync, 9)
    sequence(redis_sync, tmp_path)
    redis_sync.delete(keys.run(run), keys.tape(run))

    answer = acme.get(f"/v1/runs/{run}/receipt")
    receipt = answer.json()
    signed = check_receipt(receipt, KEY.public)
    # Tenant, key and packs have a leaf each.
    assert (answer.status_code, signed.size) == (200, 314)
    kinds = [json.loads(one["leaf"])["kind"] for one in receipt["leaves"]]
    assert kinds == ["run.accepted", "run.finished"]
    assert len(receipt["tape"]) == 9
    newest = acme.get("/v1/ledger/checkpoint")
    assert newest.headers["content-type"].startswith("text/plain")
    assert newest.text == receipt["checkpoint"]


@pytest.mark.parametrize("kind", [DIRECTORY, IN_BUCKET])
def test_an_api_on_another_host_reads_an_archive_of_objects(
    redis_url: str,
    redis_sync: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """With nothing but the objects it gives receipts and bundles, of what came since too."""
    with (
        place_of(kind, tmp_path, monkeypatch) as place,
        ApiServer(redis_url, ledger_objects=place.objects) as server,
        server.client("acme") as client,
    ):
        first = true_run(redis_sync, "acme", calls=3)
        with taking(redis_sync, place) as one:
            one.drain()
            second = true_run(redis_sync, "acme")
            assert client.get(f"/v1/runs/{first}/receipt").status_code == 200
            one.drain()
        for run in (first, second):
            check_receipt(client.get(f"/v1/runs/{run}/receipt").json(), KEY.public)
            bundle = client.get(f"/v1/runs/{run}/bundle")
            assert (bundle.status_code, '"part":"end"' in bundle.text) == (200, True)


def changed(receipt: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Give a copy of a receipt with one thing changed."""
    made: dict[str, Any] = json.loads(json.dumps(receipt))
    change(made)
    return made


def test_no_changed_receipt_holds(
    acme: httpx2.Client, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """A leaf, a place, a proof, a line, the run or the checkpoint changed: it is refused."""
    run, other = ended_run(redis_sync), ended_run(redis_sync)
    sequence(redis_sync, tmp_path)
    receipt = acme.get(f"/v1/runs/{run}/receipt").json()
    foreign = acme.get(f"/v1/runs/{other}/receipt").json()

    def put(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
        return lambda made: made.__setitem__(place, value)

    for change in (
        lambda made: made["leaves"][1].update(leaf=made["leaves"][1]["leaf"].replace("ok", "no")),
        lambda made: made["leaves"][1].update(index=made["leaves"][1]["index"] + 1),
        lambda made: made["leaves"][1]["proof"].pop(),
        lambda made: made["leaves"].pop(),
        lambda made: made["tape"].pop(),
        lambda made: made["tape"].reverse(),
        put("run", other),
        put("leaves", foreign["leaves"]),
        put("tape", foreign["tape"]),
        put("checkpoint", receipt["checkpoint"].replace("\n7\n", "\n8\n")),
        put("checkpoint", ""),
        put("leaves", None),
        put("leaves", [{}]),
    ):
        with pytest.raises(Invalid):
            check_receipt(changed(receipt, change), KEY.public)


def test_not_yet_is_said_plainly(
    acme: httpx2.Client, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """A run that has not ended, or is not signed yet, gives 202; no run gives 404."""
    queued = acme.post("/v1/runs", json={"script": "return 1"}).json()["id"]
    assert acme.get("/v1/ledger/checkpoint").status_code == 404
    for archived in (False, True):
        if archived:
            sequence(redis_sync, tmp_path)
        answer = acme.get(f"/v1/runs/{queued}/receipt")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        assert "the run is queued" in answer.json()["detail"]
        assert answer.headers["retry-after"] == "1"
    acme.post(f"/v1/runs/{queued}/cancel")
    assert "waits to be sequenced" in acme.get(f"/v1/runs/{queued}/receipt").json()["detail"]
    sequence(redis_sync, tmp_path)
    receipt = acme.get(f"/v1/runs/{queued}/receipt").json()
    check_receipt(receipt, KEY.public)
    assert json.loads(receipt["leaves"][1]["leaf"])["reason"] == "cancelled"
    for unknown in (new_id("run"), "run_x", "..%2f"):
        assert acme.get(f"/v1/runs/{unknown}/receipt").status_code == 404


def test_another_tenants_receipt_is_none(
    api: ApiServer, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """The answer is that to a run that never was, also when its record is gone."""
    with api.client("other") as client:
        run = ended_run(redis_sync)
        sequence(redis_sync, tmp_path)
        for _ in range(2):
            answer = client.get(f"/v1/runs/{run}/receipt")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            redis_sync.delete(keys.run(run))


def test_an_api_without_an_archive_says_so(redis_url: str) -> None:
    """Without the setting there is no receipt, and no guess at one."""
    with ApiServer(redis_url) as api, api.client("acme") as client:
        answer = client.get(f"/v1/runs/{new_id('run')}/receipt")
        assert answer.status_code == 503
        assert "the ledger's archive cannot be read from here" in answer.json()["detail"]
