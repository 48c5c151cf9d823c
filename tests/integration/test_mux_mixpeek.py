"""The connector from Mux to Mixpeek, end to end: every process real, the vendors on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from core import keys
from core.redis_server import PrivateRedis
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from tests.api_server import ApiServer
from tests.deadline import Deadline
from tests.mux_mixpeek import (
    BUCKET,
    CONNECTIONS,
    SYNCS,
    TRIGGER_KEYS,
    Desk,
    Library,
    desk_of,
    event,
    tenant_accounts,
)
from tests.scheduler_process import running_scheduler
from tests.worker_processes import running_worker

pytestmark = [pytest.mark.jail, pytest.mark.timeout(180)]
CREATE = f"POST /v1/buckets/{BUCKET}/objects"
SEARCH = """
local asked = { retriever_id = "ret_videos", inputs = { query_text = "a launch" } }
local matches = app.integrations.mixpeek.execute_retriever(asked).documents
return matches[#matches].source_metadata
"""
FLAGGED = {"metadata_filters": [{"field": "passthrough", "operator": "contains", "value": "vi:1"}]}


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """An API that keeps webhook secrets."""
    with ApiServer(redis_server.url, trigger_keys=TRIGGER_KEYS, log_level="warning") as server:
        yield server


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers to Mux wait for the run of an event, however busy the machine is."""
    monkeypatch.setattr("api.mux_webhooks._WAIT_S", 15)


@pytest.fixture
def desk(api: ApiServer, redis_url: str, stubs: Stubs, tmp_path: Path) -> Iterator[Desk]:
    """A client, with a worker and a scheduler at work."""
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(tenant_accounts(stubs, "acme"))
    with (
        running_worker(redis_url, accounts=accounts),
        running_scheduler(redis_url),
        desk_of(api, redis_url, "acme") as desk,
    ):
        yield desk


@pytest.fixture
def library(stubs: Stubs) -> Library:
    """What is at both vendors."""
    return Library(stubs)


def test_a_library_is_indexed_and_stays_so(desk: Desk, library: Library) -> None:
    """
    What can be downloaded is indexed with what Mux says of it, once, and new assets follow.

    A retriever's matches carry the same. Assets without static renditions, and those that are not
    ready, are passed over.
    """
    first = library.add(passthrough="myapp|vi:1|v:abc")
    library.add(renditions=False)
    late = library.add(ready=False)
    connection = desk.connect()
    sync = desk.sync(connection["connection_id"])
    shown = desk.cycles(sync, 1)
    assert library.indexed == [first]
    (made,) = library.objects
    playback = f"default-play-{first[-4:]}-0"
    assert made["source_metadata"] == {
        "asset_id": first,
        "playback_id": playback,
        "playback_ids": [playback],
        "playback_url": f"https://stream.mux.com/{playback}.m3u8",
        "thumbnail_url": f"https://stream.mux.com/{playback}/thumbnail.jpg",
        "image_url": f"https://image.mux.com/{playback}/thumbnail.jpg",
        "duration": 23.86,
        "resolution_tier": "1080p",
        "status": "ready",
        "aspect_ratio": "16:9",
    }
    assert made["blobs"][0]["data"] == f"https://stream.mux.com/{playback}/720p.mp4"
    assert made["status"] == "PENDING"
    searched = desk.client.post("/v1/runs", json={"script": SEARCH, "wait_s": 20}).json()
    assert searched["result"] == made["source_metadata"]
    assert (shown["status"], shown["total_files_synced"]) == ("ACTIVE", 1)
    library.stubs.mux.environments["default"].finish(late)
    second = library.add()
    desk.redis.zadd(keys.SYNCS_DUE, {sync["sync_config_id"]: 0})  # not after half a minute: now
    desk.cycles(sync, 2)
    assert library.indexed == sorted([first, late, second])
    assert library.made == 3
    used = desk.client.get(f"{CONNECTIONS}/{connection['connection_id']}").json()
    assert (used["last_error"], used["last_used_at"] is None) == (None, False)


def test_an_asset_deleted_at_mux_is_deleted_here(desk: Desk, library: Library) -> None:
    """The event deletes its objects and says how many; sent again, it says so again."""
    gone, stays = library.add(), library.add()
    connection = desk.connect()["connection_id"]
    desk.cycles(desk.sync(connection), 1)
    library.delete(gone)
    body = event("video.asset.deleted", gone)
    answers = [desk.send(connection, body), desk.send(connection, body)]
    said = {
        "received": True,
        "event_type": "video.asset.deleted",
        "handled": True,
        "asset_id": gone,
        "deleted_objects": 1,
    }
    assert [(one.status_code, one.json()) for one in answers] == [(200, said)] * 2
    assert library.indexed == [stays]
    deletions = [
        route for route in library.stubs["mixpeek"].faults.counts if route.startswith("DELETE")
    ]
    assert len(deletions) == 1


def test_an_asset_that_matches_no_more_is_unindexed(desk: Desk, library: Library) -> None:
    """With reconciliation the event of a change unindexes; without, it is only acknowledged."""
    asset = library.add(passthrough="vi:1")
    connection = desk.connect()["connection_id"]
    sync = desk.sync(connection, file_filters=FLAGGED)
    desk.cycles(sync, 1)
    library.change(asset, passthrough="vi:0")
    first = desk.send(connection, event("video.asset.updated", asset, "evt_1")).json()
    assert (first["handled"], first["deleted_objects"]) == (True, 0)
    desk.cycle(sync)
    assert library.indexed == [asset]
    patched = desk.client.patch(
        f"{SYNCS}/{sync['sync_config_id']}", json={"reconcile_on_sync": True}
    )
    assert patched.json()["reconcile_on_sync"] is True
    second = desk.send(connection, event("video.asset.updated", asset, "evt_2")).json()
    assert (second["handled"], second["deleted_objects"]) == (True, 1)
    assert library.indexed == []
    library.change(asset, passthrough="vi:1")
    desk.cycle(sync)
    assert library.indexed == [asset]
    library.change(asset, passthrough="vi:0")
    desk.cycle(sync)
    assert library.indexed == []


def test_one_asset_once(desk: Desk, library: Library) -> None:
    """`mux://{asset_id}` with `initial_only` makes that object and is complete."""
    wanted = library.add()
    library.add()
    connection = desk.connect()["connection_id"]
    sync = desk.sync(connection, source_path=f"mux://{wanted}", sync_mode="initial_only")
    shown = desk.cycles(sync, 1)
    assert (shown["status"], shown["next_sync_at"]) == ("COMPLETED", None)
    assert library.indexed == [wanted]


def test_a_killed_worker_uploads_nothing_twice(
    api: ApiServer, redis_url: str, library: Library, tmp_path: Path
) -> None:
    """
    A cycle that lost its worker in the middle goes on in another; each asset has one object.

    The one write that was in hand may not have been done: it is left to the next cycle.
    """
    assets = sorted(library.add() for _ in range(60))
    faults = library.stubs["mixpeek"].faults
    faults.add(Fault("delay", CREATE, times=3, seconds=0))  # three pass,
    faults.add(Fault("gather", CREATE))  # and the fourth is held for ever
    accounts = tmp_path / "accounts.toml"
    accounts.write_text(tenant_accounts(library.stubs, "acme"))
    with running_scheduler(redis_url), desk_of(api, redis_url, "acme") as desk:
        with running_worker(redis_url, accounts=accounts) as first:
            connection = desk.connect()["connection_id"]
            sync = desk.sync(connection)
            Deadline().until(lambda: faults.counts[CREATE] == 4, "the fourth", seconds=20)
            first.kill()
            assert library.made == 3
        with running_worker(redis_url, accounts=accounts):
            shown = desk.cycles(sync, 1)
            assert shown["total_files_failed"] <= 1
            assert len(library.indexed) == len(assets) - shown["total_files_failed"]
            desk.cycle(sync)
    assert library.indexed == assets
    assert library.made == len(assets)


def test_a_write_that_nobody_answered_is_looked_for(desk: Desk, library: Library) -> None:
    """Done, and its answer lost: the object is found at Mixpeek and not made again."""
    asset = library.add()
    connection = desk.connect()["connection_id"]
    library.stubs["mixpeek"].faults.add(Fault("drop", CREATE))
    shown = desk.cycles(desk.sync(connection, sync_mode="initial_only"), 1)
    assert (library.indexed, library.made) == ([asset], 1)
    assert (shown["status"], shown["total_files_synced"]) == ("COMPLETED", 1)


def test_a_write_that_was_not_done_is_made_in_the_next_cycle(desk: Desk, library: Library) -> None:
    """Not done, and no answer: it counts as failed, and the next cycle makes it, once."""
    asset = library.add()
    connection = desk.connect()["connection_id"]
    library.stubs["mixpeek"].faults.add(Fault("refuse", CREATE))
    sync = desk.sync(connection)
    shown = desk.cycles(sync, 1)
    assert (library.made, shown["total_files_failed"]) == (0, 1)
    assert shown["last_error"].endswith("it was sent and may have been done")
    shown = desk.cycle(sync)
    assert (library.indexed, library.made) == ([asset], 1)
    assert (shown["last_error"], shown["consecutive_failures"]) == (None, 0)


def test_a_library_of_many_pages_is_done_in_several_runs(desk: Desk, library: Library) -> None:
    """A run that has made its share of calls hands over; the next one goes on where it stopped."""
    for _ in range(3):
        library.add()
    connection = desk.connect()["connection_id"]
    sync = desk.sync(connection)
    desk.cycles(sync, 1)
    # As a run leaves it that had room for one page only.
    desk.redis.hset(keys.sync(sync["sync_config_id"]), "next", '{"phase":"assets","page":1}')
    late = library.add()
    assert desk.cycle(sync)["sync_run_counter"] == 2
    assert late not in library.indexed
    desk.cycle(sync)
    assert late in library.indexed


def test_an_asset_deleted_under_a_cycle_is_gone_after_it(desk: Desk, library: Library) -> None:
    """A cycle that had listed it makes its object after the event; that is deleted, too."""
    asset = library.add()
    connection = desk.connect()["connection_id"]
    faults = library.stubs["mixpeek"].faults
    faults.add(Fault("gather", CREATE, times=2))  # held until another comes
    sync = desk.sync(connection)
    Deadline().until(lambda: faults.counts[CREATE], "the object's request", seconds=20)
    library.delete(asset)
    said = desk.send(connection, event("video.asset.deleted", asset)).json()
    assert said["deleted_objects"] == 0
    path = CREATE.partition(" ")[2]  # refused, having no key: it lets the held one go
    httpx2.post(library.stubs["mixpeek"].url + path, trust_env=False)
    desk.cycles(sync, 1)
    assert library.made == 1
    Deadline().until(lambda: not library.objects, "the deletion after the cycle", seconds=20)


def test_an_event_whose_run_fails_is_tried_again(desk: Desk, library: Library) -> None:
    """Mixpeek is away when the event comes: it is received, and done when Mixpeek is back."""
    asset = library.add()
    connection = desk.connect()["connection_id"]
    desk.cycles(desk.sync(connection), 1)
    library.delete(asset)
    listing = f"POST /v1/buckets/{BUCKET}/objects/list"
    library.stubs["mixpeek"].faults.add(Fault("answer", listing, status=500, body=b"{}"))
    body = event("video.asset.deleted", asset)
    said = desk.send(connection, body)
    assert (said.status_code, said.json()["deleted_objects"]) == (200, None)
    (job,) = Deadline().until(lambda: tried_again(desk.redis), "the failure")
    desk.redis.zadd(keys.MUX_JOBS, {job: 0})  # not after ten seconds: now
    Deadline().until(lambda: not library.objects, "the deletion", seconds=20)
    Deadline().until(
        lambda: desk.send(connection, body).json()["deleted_objects"] == 1, "its count", seconds=20
    )


def test_two_schedulers_begin_each_cycle_once(desk: Desk, library: Library, redis_url: str) -> None:
    """Whoever comes second finds the cycle begun: as many runs as cycles."""
    assets = [library.add() for _ in range(3)]
    with running_scheduler(redis_url):
        connection = desk.connect()["connection_id"]
        syncs = [desk.sync(connection, sync_mode="initial_only") for _ in range(5)]
        for one in syncs:
            assert desk.cycles(one, 1)["status"] == "COMPLETED"
    assert library.indexed == sorted(assets)
    runs = desk.client.get("/v1/runs").json()["data"]
    started = [one["origin"]["id"] for one in runs if one.get("origin")]
    assert sorted(started) == sorted(one["sync_config_id"] for one in syncs)


def tried_again(client: redis.Redis) -> list[str]:
    """Give the jobs that failed and wait for another try."""
    jobs: Any = client.zrange(keys.MUX_JOBS, 0, -1)
    return [one for one in jobs if client.hget(keys.mux_job(one), "tries")]
