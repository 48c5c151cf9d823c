"""`/readyz` says which part is missing and what to do; `/metrics` has all of it, bounded."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import redis
import redis.asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from core import keys
from core.clock import now_ms
from core.redis_client import connect_async
from integrations.catalog import Catalog
from runs import survey
from runs.packs import note_packs
from runs.store import RunStore
from tests.api_server import ApiServer
from tests.command import environment, moonsand
from tests.deadline import Deadline
from tests.integration.run_watching import ended, submit
from tests.integration.test_sequencer_process import sequencer
from tests.sequencing import plain
from tests.slow_redis import SlowRedis
from tests.worker_processes import running_worker

pytestmark = pytest.mark.anyio


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a scrape or a look at readiness may take has tests of its own."""
    for module in ("api.health", "api.metrics"):
        monkeypatch.setattr(f"{module}.WITHIN_S", 15)


@contextmanager
def metrics(url: str, **settings: Any) -> Iterator[httpx2.Client]:
    """Start an API with a port for metrics; give a client of that port."""
    with ApiServer(url, metrics_port=0, **settings) as api:
        port = api.server.app.state.metrics_port
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False
        ) as client:
            yield client


def values(client: httpx2.Client) -> dict[str, float]:
    """Read all samples, as Prometheus does, by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for one in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(one.labels.items()))
            name = f"{one.name}{{{labels}}}" if labels else one.name
            assert name not in found
            found[name] = one.value
    return found


@pytest.mark.usefixtures("patient")
async def test_metrics_of_a_service_at_work(
    redis_url: str, store: RunStore, redis_sync: redis.Redis
) -> None:
    """Workers' slots, runs by reason and the ledger's inbox come from Redis, whoever is asked."""
    with metrics(redis_url) as client, running_worker(redis_url, slots=3):
        await ended(store, await submit(store))
        found = values(client)

    assert (found["moonsand_redis_up"], found["moonsand_redis_writes"]) == (1, 1)
    assert (found["moonsand_workers"], found["moonsand_worker_slots"]) == (1, 3)
    assert found["moonsand_worker_slots_busy"] == 0
    assert found["moonsand_runs_ended_total{reason=ok,state=succeeded}"] == 1
    assert found["moonsand_runs_ended_total{reason=worker_lost,state=failed}"] == 0
    assert found["moonsand_ledger_inbox_entries"] == redis_sync.xlen(keys.LEDGER_INBOX)
    assert (found["moonsand_sequencer_at_work"], found["moonsand_schedulers"]) == (0, 0)
    assert found["moonsand_redis_memory_bytes"] > 0


@pytest.mark.usefixtures("patient")
async def test_queues_are_named_up_to_a_bound(redis_url: str, store: RunStore) -> None:
    """Only so many tenants are named, the deepest first; the sums are of all of them."""
    for tenant, count in (("acme-few", 1), ("acme-many", 4), ("acme-some", 2)):
        for _ in range(count):
            await submit(store, tenant=tenant)
    with metrics(redis_url, metrics_tenants=2) as client:
        Deadline().until(
            lambda: values(client)["moonsand_queued_oldest_seconds"] > 0, "an age above zero"
        )
        found = values(client)
    with metrics(redis_url, metrics_tenants=0) as client:
        nameless = client.get("/metrics").text

    assert found["moonsand_runs{state=queued}"] == 7
    assert found["moonsand_queued_tenants"] == 3
    assert found["moonsand_queued_partial"] == 0
    assert found["moonsand_queue_depth{tenant=acme-many}"] == 4
    assert found["moonsand_queue_depth{tenant=acme-some}"] == 2
    assert "moonsand_queue_depth{tenant=acme-few}" not in found
    assert found["moonsand_queue_oldest_seconds{tenant=acme-many}"] > 0
    assert not any(tenant in nameless for tenant in ("acme-few", "acme-many", "acme-some"))


async def test_only_so_many_tenants_are_looked_at(
    redis_sync: redis.Redis, redis_async: redis.asyncio.Redis
) -> None:
    """Ten thousand tenants with something queued cost as much as `MAX_TENANTS`."""
    pipeline = redis_sync.pipeline(transaction=False)
    for number in range(10_000):
        pipeline.zadd(keys.RING, {f"t{number}": number})
        pipeline.rpush(f"rq:queue:{keys.queue(f't{number}')}", "run_x")
    pipeline.execute()
    found = await survey.queues(redis_async, names=5, within_s=5)

    assert (found.tenants, found.partial) == (10_000, True)
    assert (found.queued, len(found.deepest)) == (survey.MAX_TENANTS, 5)


@pytest.mark.usefixtures("patient")
def test_requests_are_counted_by_route_and_not_by_path(redis_url: str) -> None:
    """However many paths are asked for, there is one line for each route, and one for the rest."""
    with ApiServer(redis_url, metrics_port=0) as api, api.client("acme") as client:
        for number in range(5):
            assert client.get(f"/v1/runs/run_{number}").status_code == 404
            assert client.get(f"/no/such/{number}").status_code == 404
        assert client.get("/metrics").status_code == 404
        port = api.server.app.state.metrics_port
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as scraper:
            found = values(scraper)
            assert scraper.get("/v1/runs").status_code == 404
            assert scraper.get("/readyz").status_code == 404
    prefix = "moonsand_http_requests_total"
    assert found[f"{prefix}{{method=GET,route=/v1/runs/{{run_id}},status=404}}"] == 5
    assert found[f"{prefix}{{method=GET,route=none,status=404}}"] == 6
    assert sum(one.startswith(prefix) for one in found) == 2


def test_without_redis_there_are_metrics_all_the_same(redis_url: str) -> None:
    """A Redis that does not answer is a number, within the time that a scrape has."""
    with SlowRedis(redis_url.removeprefix("unix://")) as wire, metrics(wire.url) as client:
        Deadline().until(lambda: values(client)["moonsand_redis_up"], "Redis")
        wire.delay_s = 60
        began = time.monotonic()
        found = values(client)
        took_s = time.monotonic() - began
        wire.delay_s = 0
        assert (found["moonsand_redis_up"], "moonsand_workers" in found) == (0, False)
        assert took_s < 12  # of the 15 s that Redis may take elsewhere
        Deadline().until(lambda: values(client)["moonsand_redis_up"], "Redis to be back")


@pytest.mark.usefixtures("patient")
def test_readiness_says_which_part_and_what_to_do(
    redis_url: str, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """Each part that is missing has its hint; what is not needed for runs keeps no traffic away."""
    with ApiServer(redis_url, ledger_inbox_max=10) as api, api.client() as client:

        def checks() -> Any:
            return client.get("/readyz").json()["checks"]

        found = checks()
        for part, command in (
            ("workers", "moonsand worker"),
            ("ledger", "moonsand sequencer"),
            ("scheduler", "moonsand scheduler"),
        ):
            assert not found[part]["ok"]
            assert command in found[part]["hint"]
        with running_worker(redis_url):
            assert client.get("/readyz").status_code == 200
            assert "slots" in checks()["workers"]["detail"]
            plain(redis_sync, 12)
            assert client.get("/readyz").status_code == 503
            assert "no run is accepted" in checks()["ledger"]["detail"]
            redis_sync.zadd(keys.SCHEDULERS, {"host-1-x": now_ms()})
            assert checks()["scheduler"]["ok"]
            with sequencer(redis_url, tmp_path):
                Deadline().until(lambda: checks()["ledger"]["ok"], "the ledger", seconds=20)
                assert client.get("/readyz").status_code == 200


def test_readiness_is_bounded(redis_url: str) -> None:
    """A Redis that hangs is told within two seconds and some."""
    with SlowRedis(redis_url.removeprefix("unix://")) as wire, ApiServer(wire.url) as api:
        with api.client() as client:
            wire.delay_s = 60
            began = time.monotonic()
            answer = client.get("/readyz")
            took_s = time.monotonic() - began
        wire.delay_s = 0
    assert (answer.status_code, answer.json()["checks"]["redis"]["ok"]) == (503, False)
    assert "REDIS_URL" in answer.json()["checks"]["redis"]["hint"]
    assert took_s < 12  # of the 15 s that Redis may take elsewhere


# --- the packs that are in effect ----------------------------------------------------------------


async def test_a_change_of_packs_is_one_leaf(
    redis_url: str, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """However many processes start with other packs, the ledger is told once."""
    own = tmp_path / "packs"
    own.mkdir()
    for name in ("mux.md", "mux.yaml"):
        text = (Path("integrations/packs") / name).read_text()
        (own / f"own{Path(name).suffix}").write_text(
            text.replace("name: mux", "name: own", 1).replace("guide: mux.md", "guide: own.md")
        )
    shipped, mine = Catalog.load(), Catalog.load(operator=own)
    async with connect_async(redis_url) as first, connect_async(redis_url) as second:
        told = [await note_packs(one, shipped, "worker") for one in (first, second)]
        told += [await note_packs(one, mine, "worker") for one in (second, first, second)]
        told += [await note_packs(first, one, "api") for one in (shipped, shipped, mine)]
        told.append(await note_packs(second, shipped, "worker"))
    rows: Any = redis_sync.xrange(keys.LEDGER_INBOX)

    assert told == [True, False, True, False, False, True, False, False, True]

    read = [orjson.loads(fields[b"leaf"]) for _, fields in rows]
    assert [one["kind"] for one in read] == ["packs.changed"] * 4
    assert [one["by"] for one in read] == ["worker", "worker", "api", "worker"]
    digests = [shipped.digest(), mine.digest(), shipped.digest(), shipped.digest()]
    assert [one["sha256"] for one in read] == digests
    before = [None, shipped.digest(), None, mine.digest()]
    assert [one["before"] for one in read] == before
    assert read[1]["packs"]["own"] == mine.digests()["own"]


async def test_processes_that_start_tell_of_their_packs(
    redis_url: str, redis_sync: redis.Redis
) -> None:
    """An API and two workers with the same packs: one leaf."""
    with ApiServer(redis_url), running_worker(redis_url), running_worker(redis_url):
        rows: Any = redis_sync.xrange(keys.LEDGER_INBOX)
    assert [b"packs.changed" in fields[b"leaf"] for _, fields in rows] == [True]


# --- what people and machines are told about it --------------------------------------------------


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", ["deploy/alerts.yaml", "deploy/keda.yaml", "docs/operations.md"])
def test_every_metric_that_is_written_about_is_there(path: str, redis_url: str) -> None:
    """Alerts, the autoscaler and the guide name metrics that the service has."""
    with metrics(redis_url) as client:
        text = client.get("/metrics").text
    known = {family.name for family in text_string_to_metric_families(text)}
    named = set(re.findall(r"moonsand_[a-z_]+", Path(path).read_text()))
    assert named
    assert {name.removesuffix("_total") for name in named} <= known


def test_every_alert_says_what_to_do() -> None:
    """Each alert has its row in the guide, under its name."""
    rules = yaml.safe_load(Path("deploy/alerts.yaml").read_text())["groups"][0]["rules"]
    guide = Path("docs/operations.md").read_text()
    assert rules
    assert [one["alert"] for one in rules if f"**{one['alert']}**" not in guide] == []


def test_a_port_that_is_taken_is_said_at_once(redis_url: str, tmp_path: Path) -> None:
    """The API does not start without the metrics it was told to give; one line says why."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = {"REDIS_URL": redis_url, "MOONSAND_METRICS_PORT": port, "MOONSAND_PORT": "0"}
        done = moonsand("api", env=environment(tmp_path, **given))
    assert done.returncode == 3
    assert f"metrics cannot listen on 127.0.0.1 port {port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
