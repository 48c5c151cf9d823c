"""Redis is slow, frozen, killed, or its disk full: 503, nothing accepted and lost, recovery."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
import redis

from core.redis_client import connect
from core.redis_server import PrivateRedis
from ledger.sqlite_archive import NAME, SqliteArchive
from tests.api_server import ApiServer
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.flaky_redis import Fault, FlakyRedis
from tests.integration.run_watching import TENANT
from tests.integration.test_sequencer_process import sequencer
from tests.slow_redis import SlowRedis
from tests.small_disk import SmallDisk
from tests.worker_processes import running_worker

#: What the API waits for an answer of Redis; 15 s unless the URL says otherwise.
SHORT = "?socket_timeout=1"
#: What the others wait: they send commands that block for a second.
LESS_SHORT = "?socket_timeout=2"
QUICK = {"script": "return 1"}
PAYS = {
    "script": """
    local till = app.integrations.till
    till.pay_once({ tag = input.tag .. "-1" })
    till.pay_once({ tag = input.tag .. "-2" })
    return input.tag
    """
}


class Service:
    """An API, a worker and a sequencer, each a real one, on a Redis of their own."""

    def __init__(self, server: PrivateRedis, directory: Path, vendor: CountingVendor) -> None:
        self.server = server
        self.vendor = vendor
        self._directory = directory
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        patient, hasty = (enter(ApiServer(self.server.url + one)) for one in ("", SHORT))
        self.client: httpx2.Client = enter(patient.client(TENANT))
        self.hasty: httpx2.Client = enter(hasty.client(TENANT))
        url = self.server.url + LESS_SHORT
        enter(running_worker(url, slots=2, **self.vendor.settings))
        enter(sequencer(url, self._directory))
        Deadline().until(lambda: self.ready and self.ledger_kept, "readiness", seconds=20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def ready(self) -> bool:
        """Tell whether runs can be accepted and executed."""
        return self.client.get("/readyz").status_code == 200

    @property
    def ledger_kept(self) -> bool:
        """Tell whether a sequencer is at work and keeps up."""
        return bool(self.client.get("/readyz").json()["checks"]["ledger"]["ok"])

    def accept(self, body: dict[str, Any] = QUICK, *, hasty: bool = False) -> str | None:
        """
        Submit; give the id of what was accepted, None when it was refused as it should be.

        `hasty`: by an API that waits a second only for Redis.
        """
        answer = (self.hasty if hasty else self.client).post("/v1/runs", json=body)
        if answer.status_code == 202:
            return str(answer.json()["id"])
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        return None

    def refuse(self, times: int) -> None:
        """Submit until it was refused so many times."""
        refused: list[None] = []

        def try_once() -> bool:
            if self.accept(hasty=True) is None:
                refused.append(None)
            return len(refused) >= times

        Deadline().until(try_once, "refusals", seconds=30)

    def results(self, ids: list[str], seconds: float = 60) -> list[tuple[Any, Any]]:
        """Wait until all runs have ended; give reason and result of each."""
        found = {}
        for run_id in ids:

            def look(run_id: str = run_id) -> Any:
                answer = self.client.get(f"/v1/runs/{run_id}")
                body = answer.json()
                return body if body.get("reason") else None

            found[run_id] = Deadline().until(look, f"the end of {run_id}", seconds=seconds)
        return [(found[one]["reason"], found[one]["result"]) for one in ids]

    def known(self) -> list[str]:
        """Give the ids of all runs that the service says it has."""
        return [one["id"] for one in self.client.get("/v1/runs?limit=200").json()["data"]]

    def leaves(self, run_id: str) -> list[bytes]:
        """Give the archive's leaves about a run."""
        with closing(SqliteArchive(self._directory / "ledger" / NAME, write=False)) as archive:
            return [one.data for one in archive.find(run_id)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A Redis that writes down what it has, and can be stopped in any way."""
    with PrivateRedis(tmp_path / "redis") as own:
        with connect(own.url) as client:
            # Written before each answer; `everysec` puts that off while it waits for the disk.
            client.config_set("appendfsync", "no")
        yield own


def freeze(server: PrivateRedis) -> Callable[[], object]:
    """Stop the process where it is: connections stay, nothing is answered."""
    assert server.pid is not None
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def kill(server: PrivateRedis) -> Callable[[], object]:
    """Kill it; it comes back with what its append-only file has."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    return server.start


@pytest.mark.parametrize("go_away", [freeze, kill])
def test_redis_goes_away_for_longer_than_a_lease(
    go_away: Callable[[PrivateRedis], Callable[[], object]],
    server: PrivateRedis,
    vendor: CountingVendor,
    tmp_path: Path,
) -> None:
    """All that was accepted ends well and is in the ledger, each call made once; by itself."""
    vendor.arm(Hold.AFTER)
    with Service(server, tmp_path, vendor) as service:
        tags = [f"run{number}" for number in range(4)]
        ids = [service.accept(PAYS | {"input": {"tag": tag}}) for tag in tags]
        Deadline().until(vendor.struck.is_set, "the first request")
        come_back = go_away(server)
        service.refuse(4)  # when frozen, each takes as long as the API waits
        assert service.hasty.get("/readyz").status_code == 503
        vendor.release(answer=True)
        come_back()

        Deadline().until(lambda: service.ready, "recovery", seconds=30)
        ids.append(
            Deadline().until(lambda: service.accept(hasty=True), "an acceptance", seconds=30)
        )
        accepted = [one for one in ids if one is not None]
        assert len(accepted) == len(ids)
        ended = service.results(accepted)
        assert ended == [("ok", tag) for tag in tags] + [("ok", 1)]
        # What was refused in doubt may have been accepted: then it ends as well.
        assert {reason for reason, _ in service.results(service.known())} == {"ok"}
        for run_id in service.known():
            Deadline().until(
                lambda run_id=run_id: len(service.leaves(run_id)) == 2,  # type: ignore[misc]
                "the leaves of its acceptance and its end",
                seconds=30,
            )
    assert vendor.done == {f"{tag}-{number}": 1 for tag in tags for number in (1, 2)}


def test_a_slow_redis_is_slow_and_a_slower_one_is_away(
    server: PrivateRedis, tmp_path: Path
) -> None:
    """Late answers lose nothing; those that come too late are 503, as long as they do."""
    with (
        SlowRedis(server.url.removeprefix("unix://")) as wire,
        ApiServer(wire.url + "/0?socket_timeout=5") as api,
        api.client(TENANT) as client,
        running_worker(wire.url),
    ):
        wire.delay_s = 0.1
        answer = client.post("/v1/runs", json=QUICK | {"wait_s": 15})
        assert (answer.status_code, answer.json()["result"]) == (200, 1)
        assert answer.json()["attempt"] == 1

        wire.delay_s = 30
        refused = client.post("/v1/runs", json=QUICK)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/readyz").status_code == 503

        wire.delay_s = 0
        Deadline().until(lambda: client.get("/readyz").status_code == 200, "recovery", seconds=40)
        again = client.post("/v1/runs", json=QUICK | {"wait_s": 15})
        assert (again.status_code, again.json()["result"]) == (200, 1)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER], ids=lambda one: one.name)
def test_an_acceptance_whose_answer_is_lost_is_told_as_that(
    server: PrivateRedis, fault: Fault
) -> None:
    """It is 503 either way, names the run, and the run is there whole or not at all."""
    with (
        FlakyRedis(server.url.removeprefix("unix://")) as wire,
        ApiServer(wire.url) as api,
        api.client(TENANT) as client,
    ):
        assert client.post("/v1/runs", json=QUICK).status_code == 202  # Redis has the scripts
        wire.arm(fault, "accepted_by_this_word")
        refused = client.post("/v1/runs", json=QUICK | {"name": "accepted_by_this_word"})
        assert wire.struck.is_set()
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        (named,) = [word for word in refused.json()["detail"].split() if word.startswith("run_")]
        found = client.get(f"/v1/runs/{named}")
        if fault is Fault.CUT_BEFORE:
            assert found.status_code == 404
        else:
            assert (found.status_code, found.json()["status"]) == (200, "queued")


def test_redis_whose_disk_is_full_takes_writes_again(tmp_path: Path) -> None:
    """Its append-only file cannot grow: 503 and no run lost; with room it goes on by itself."""
    with (
        SmallDisk(tmp_path / "disk", 1_024) as disk,
        PrivateRedis(disk.path / "redis") as server,
        ApiServer(server.url) as api,
        api.client(TENANT) as client,
        connect(server.url) as own,
        running_worker(server.url),
    ):
        first = client.post("/v1/runs", json=QUICK | {"wait_s": 15})
        assert first.status_code == 200
        Deadline().until(lambda: refuses(own), "a full disk", seconds=20)
        refused = client.post("/v1/runs", json=QUICK)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert "takes no writes" in refused.json()["detail"]
        assert client.get(f"/v1/runs/{first.json()['id']}").status_code == 200
        assert "disk" in client.get("/readyz").json()["checks"]["redis"]["hint"]

        disk.grow(32_768)
        Deadline().until(lambda: client.get("/readyz").status_code == 200, "recovery", seconds=30)
        again = client.post("/v1/runs", json=QUICK | {"wait_s": 15})
        assert (again.status_code, again.json()["result"]) == (200, 1)


def refuses(client: redis.Redis) -> bool:
    """Write until Redis can write no more down; tell whether it has come to that."""
    try:
        client.set("ms:probe-of-a-test", os.urandom(100_000))
    except redis.ResponseError as error:
        return str(error).startswith("MISCONF")
    return False
