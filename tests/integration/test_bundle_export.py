"""A bundle is its tenant's own, complete or none, and says what it does not prove."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import redis

from core import keys
from core.ids import new_id
from integrations.bundle_redaction import redacted
from ledger.bundle import Bundle, parse_bundle
from ledger.bundle_check import check_bundle
from runs.model import RunRequest
from runs.store import RunStore
from tenancy.master_keys import MasterKeys, new_line
from tests.api_server import ApiServer
from tests.command import environment, moonsand
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.integration.run_watching import LOST_S, TENANT, ended, submit
from tests.sequencing import KEY, ended_run, taking
from tests.worker_processes import running_worker

SCRIPT = """
local till = app.integrations.till
print(till.price({ tag = "a" }).value)
return { input.token, till.pay_once({ tag = "b" }).tag }
"""
UNKNOWN = """
print(app.integrations.till.price({ tag = "u" }).value)
local ok, problem = pcall(app.integrations.till.pay, { tag = "u" })
print(ok, problem.code)
return app.integrations.till.price({ tag = "v" }).tag
"""


@pytest.fixture
def api(redis_url: str, tmp_path: Path) -> Iterator[ApiServer]:
    """An API that reads the archive in `tmp_path`."""
    with ApiServer(redis_url, ledger_dir=tmp_path) as server:
        yield server


@pytest.fixture
def acme(api: ApiServer) -> Iterator[httpx2.Client]:
    """A client of the tenant whose runs these are."""
    with api.client(TENANT) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Lab:
    """What it takes to execute runs of one tenant and to export them."""

    acme: httpx2.Client
    store: RunStore
    url: str
    redis: redis.Redis
    vendor: CountingVendor


@pytest.fixture
def lab(
    acme: httpx2.Client, store: RunStore, redis_url: str, redis_sync: redis.Redis, tmp_path: Path
) -> Iterator[Lab]:
    """All of it."""
    with CountingVendor(tmp_path / "till", TENANT) as vendor:
        yield Lab(acme, store, redis_url, redis_sync, vendor)


async def executed(lab: Lab) -> str:
    """Execute a run; give its id."""
    with running_worker(lab.url, slots=1, **lab.vendor.settings):
        run = await submit(lab.store, RunRequest(script=SCRIPT, input={"token": "t"}))
        await ended(lab.store, run)
    return run


def bundle_of(client: httpx2.Client, run: str) -> Bundle:
    """Export a run over HTTP."""
    answer = client.get(f"/v1/runs/{run}/bundle")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == f'attachment; filename="{run}.jsonl"'
    return parse_bundle(answer.content.splitlines(keepends=True))


def replayed(home: Path, bundle: Bundle) -> dict[str, Any]:
    """Give what `moonsand replay --json` says of a bundle."""
    file = home / "one.jsonl"
    file.write_bytes(b"".join(bundle.lines()))
    done = moonsand("replay", "--json", str(file), env=environment(home))
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_a_run_is_exported_before_and_after_it_is_sequenced(lab: Lab, tmp_path: Path) -> None:
    """Both replay equal; the early one says that nothing proves it, the late one needs no Redis."""
    run = await executed(lab)

    early = bundle_of(lab.acme, run)
    assert early.receipt is None
    assert check_bundle(early).proved.log is None
    found = replayed(tmp_path, early)
    assert found["equal"] is True
    assert "nothing proves" in found["notes"][0]

    with taking(lab.redis, tmp_path) as one:
        one.drain()
    lab.redis.delete(keys.run(run), keys.tape(run))
    late = bundle_of(lab.acme, run)
    assert check_bundle(late, KEY.public).proved.unbound == ()
    assert late.texts == early.texts
    assert [one.body for one in late.entries] == [one.body for one in early.entries]


async def test_where_payloads_are_sealed_the_leaf_binds_what_it_can(
    lab: Lab, tmp_path: Path
) -> None:
    """An API without master keys gives the tape of Redis, and a note says what is not bound."""
    run = await executed(lab)
    line = new_line("one")
    with taking(lab.redis, tmp_path, MasterKeys.parse(line)) as one:
        one.drain()

    sealed = bundle_of(lab.acme, run)
    found = replayed(tmp_path, sealed)
    assert found["equal"] is True
    assert found["proof"]["log"] == KEY.public.name
    assert found["proof"]["unbound_entries"] == list(range(1, len(sealed.entries) + 1))
    assert any("not bound to the receipt one by one" in note for note in found["notes"])

    lab.redis.delete(keys.run(run), keys.tape(run))
    gone = lab.acme.get(f"/v1/runs/{run}/bundle")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    assert "sealed for others" in gone.json()["detail"]
    there = ["--archive", str(tmp_path), run]
    env = environment(tmp_path)
    assert "is sealed with a key" in moonsand("replay", *there, env=env).stderr
    done = moonsand("replay", "--json", *there, env=env | {"MOONSAND_VAULT_KEYS": line})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["proof"]["unbound_entries"] == []


def test_a_bundle_is_nobody_elses_and_never_half_of_a_run(
    api: ApiServer, acme: httpx2.Client, redis_sync: redis.Redis, tmp_path: Path
) -> None:
    """Another tenant's run is none; one that has not ended is refused; so is one without a tape."""
    run = ended_run(redis_sync)
    queued = acme.post("/v1/runs", json={"script": "return 1"}).json()["id"]
    with api.client("other") as other:
        for sequenced in (False, True):
            for one in (run, queued, new_id("run"), "run_x", "..%2f"):
                answer = other.get(f"/v1/runs/{one}/bundle")
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), one
            if not sequenced:
                with taking(redis_sync, tmp_path) as one_taking:
                    one_taking.drain()
    refused = acme.get(f"/v1/runs/{queued}/bundle")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "the run is queued" in refused.json()["detail"]
    assert acme.post(f"/v1/runs/{queued}/cancel").status_code == 200
    redis_sync.delete(keys.tape(queued))
    assert acme.get(f"/v1/runs/{queued}/bundle").status_code == 404
    assert httpx2.get(f"{api.url}/v1/runs/{run}/bundle").status_code == 401


@pytest.mark.parametrize("raised", [False, True], ids=["fails", "raises"])
async def test_a_run_whose_worker_was_lost_replays_as_one(
    lab: Lab,
    tmp_path: Path,
    *,
    raised: bool,
) -> None:
    """Two attempts, one tape; a call of unknown effect ends the replay or is raised in it again."""
    with running_worker(lab.url, slots=1, **lab.vendor.settings) as doomed:
        lab.vendor.arm(Hold.AFTER, 2)
        request = RunRequest(script=UNKNOWN, on_unknown="raise" if raised else "fail")
        run = await submit(lab.store, request)
        Deadline().until(lab.vendor.struck.is_set, "the second request")
        doomed.kill()
    lab.vendor.release()
    with running_worker(lab.url, slots=1, **lab.vendor.settings):
        record = await ended(lab.store, run, seconds=LOST_S)
    assert record.attempt == 2
    before = dict(lab.vendor.asked)

    found = replayed(tmp_path, bundle_of(lab.acme, run))

    assert found["difference"] is None
    assert found["ending_compared"] is True
    assert found["replayed"]["reason"] == ("ok" if raised else "effect_unknown")
    assert dict(lab.vendor.asked) == before


def test_a_cancelled_run_has_nothing_to_replay(acme: httpx2.Client, tmp_path: Path) -> None:
    """It was never begun: said so, and nothing is executed."""
    run = acme.post("/v1/runs", json={"script": "return 1"}).json()["id"]
    acme.post(f"/v1/runs/{run}/cancel")
    file = tmp_path / "one.jsonl"
    file.write_bytes(acme.get(f"/v1/runs/{run}/bundle").content)

    done = moonsand("replay", str(file), env=environment(tmp_path))

    assert (done.returncode, done.stdout) == (2, "")
    assert "was never begun" in done.stderr


async def test_what_is_redacted_is_gone_everywhere_and_named(lab: Lab, tmp_path: Path) -> None:
    """A secret of a reply is in no line; the replay names its field if it differs."""
    run = await executed(lab)
    whole = bundle_of(lab.acme, run)
    secret = "sk-very-secret"
    entries = list(whole.entries)
    place = next(at for at, one in enumerate(entries) if one.kind == "effect")
    body = orjson.loads(entries[place].body)
    body["reply"] = json.dumps({"value": 1, "stream": [{"stream_key": secret}], "tag": secret})
    entries[place] = type(entries[place])(
        entries[place].seq, "effect", entries[place].at_ms, orjson.dumps(body)
    )
    told = orjson.dumps([secret])
    with_secret = Bundle(run, None, {**whole.texts, "result": told}, entries)

    shown = redacted(with_secret)

    assert all(secret.encode() not in line for line in shown.lines())
    assert "result" not in shown.texts
    assert "/stream/0/stream_key" in shown.entries[place].redacted
    found = replayed(tmp_path, Bundle(run, None, whole.texts, shown.entries))
    assert found["equal"] is False
    assert any("/stream/0/stream_key" in note for note in found["notes"])


async def test_the_commands_take_a_run_from_a_service(
    api: ApiServer, lab: Lab, tmp_path: Path
) -> None:
    """By its id alone: replayed, exported to a file that is nobody else's, redacted."""
    run = await executed(lab)
    to = ["--url", api.url, "--key", await asyncio.to_thread(api.new_key, TENANT)]
    env = environment(tmp_path / "home")

    done = await asyncio.to_thread(moonsand, "replay", "--json", run, *to, env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"] == "service"

    out = tmp_path / "out.jsonl"
    for options in ([], ["--redact"]):
        out.unlink(missing_ok=True)
        arguments = ["runs", "export", run, "--out", str(out), *options, *to]
        done = await asyncio.to_thread(moonsand, *arguments, env=env)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert out.stat().st_mode & 0o777 == 0o600
        assert parse_bundle(out.read_bytes().splitlines(keepends=True)).run == run

    again = await asyncio.to_thread(moonsand, *arguments, env=env)
    assert again.returncode == 2
    assert "File exists" in again.stderr
    early = await asyncio.to_thread(moonsand, "runs", "--url", api.url, "export", run, env=env)
    assert early.returncode == 2
    assert "options stand after `export`" in early.stderr
    unknown = ["runs", "export", new_id("run"), "--out", str(tmp_path / "none"), *to]
    done = await asyncio.to_thread(moonsand, *unknown, env=env)
    assert done.returncode == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("nth", [1, 4, 9])
async def test_an_unknown_effect_with_calls_in_flight_comes_again(
    lab: Lab, tmp_path: Path, nth: int
) -> None:
    """Whatever else was under way when it ended the run: the same calls, the same end."""
    script = """
    return parallel.map({ 1, 2, 3, 4, 5, 6 }, function(n)
      print(n, app.integrations.till.price({ tag = "i" .. n }).value)
      print(n, app.integrations.till.pay({ tag = "i" .. n }).value)
      print(n, app.integrations.till.pay({ tag = "j" .. n }).value)
    end, { concurrency = 4 })
    """
    with running_worker(lab.url, slots=1, **lab.vendor.settings):
        lab.vendor.arm(Hold.AFTER, nth)
        run = await submit(lab.store, RunRequest(script=script))
        Deadline().until(lab.vendor.struck.is_set, "the request")
        lab.vendor.release()  # the vendor hangs up: done or not, nobody knows
        record = await ended(lab.store, run)

    found = replayed(tmp_path, bundle_of(lab.acme, run))

    assert found["difference"] is None
    assert found["ending_compared"] is True
    assert found["replayed"]["reason"] == record.reason
