"""A worker is killed at every boundary of a run: another goes on over its tape."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from rq.job import Job

from core.redis_client import connect_async
from runs.model import RunRequest, State
from runs.store import RunStore
from sandbox.outcome import Reason
from tenancy.grant_store import GrantStore
from tenancy.grants import GrantSet
from tests.deadline import Deadline
from tests.faults import lab
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.faults.lab import Boundary, Strike
from tests.flaky_redis import FlakyRedis
from tests.integration.run_watching import (
    ENDLESS,
    LOST_S,
    TENANT,
    ended,
    in_state,
    nothing_held,
    picture,
    submit,
    tape,
)
from tests.worker_processes import WorkerProcess, running_worker

STRIKES = [
    *(Strike(Boundary.CLAIM, 1, happened) for happened in (False, True)),
    *(Strike(Boundary.INTENT, 2, happened) for happened in (False, True)),
    *(Strike(Boundary.REQUEST, 2, happened) for happened in (False, True)),
    *(Strike(Boundary.EFFECT, 2, happened) for happened in (False, True)),
    *(Strike(Boundary.INTENT, 4, happened) for happened in (False, True)),
    *(Strike(Boundary.REQUEST, 4, happened) for happened in (False, True)),
    *(Strike(Boundary.EFFECT, 4, happened) for happened in (False, True)),
    *(Strike(Boundary.REQUEST, 6, happened) for happened in (False, True)),
    *(Strike(Boundary.FINISH, 1, happened) for happened in (False, True)),
]
#: The fourth call has no key: once its intent is there and no effect is, nobody knows.
IN_DOUBT = [
    Strike(Boundary.INTENT, 4, happened=True),
    Strike(Boundary.REQUEST, 4, happened=False),
    Strike(Boundary.REQUEST, 4, happened=True),
    Strike(Boundary.EFFECT, 4, happened=False),
]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run needs: a wire to Redis that can be held, and a vendor that counts."""

    url: str
    wire: FlakyRedis
    vendor: CountingVendor
    store: RunStore
    redis: redis.Redis

    def worker(
        self, *, direct: bool = True, **settings: Any
    ) -> AbstractContextManager[WorkerProcess]:
        """Start a worker whose tenant has an account at the vendor."""
        url = self.url if direct else self.wire.url
        return running_worker(url, **{"slots": 1, **self.vendor.settings, **settings})


@pytest.fixture
def bench(
    redis_url: str, store: RunStore, redis_sync: redis.Redis, tmp_path: Path
) -> Iterator[Bench]:
    """All of it, on this machine."""
    with (
        FlakyRedis(redis_url.removeprefix("unix://")) as wire,
        CountingVendor(tmp_path, TENANT) as vendor,
    ):
        yield Bench(redis_url, wire, vendor, store, redis_sync)


@pytest.mark.parametrize("strike", STRIKES, ids=str)
async def test_a_worker_killed_at_a_boundary_does_nothing_twice_and_loses_no_run(
    bench: Bench, strike: Strike
) -> None:
    """Killed before or after it happened: one result, each write at most once, or `unknown`."""
    with bench.worker(direct=False) as doomed:
        await ended(bench.store, await submit(bench.store))  # from now on Redis knows the scripts
        struck = lab.arm(strike, bench.redis, bench.wire, bench.vendor)
        run_id = await submit(bench.store, lab.request("a"))
        lab.wait_for(struck, strike)
        doomed.kill()
    bench.vendor.release()
    with bench.worker():
        record = await ended(bench.store, run_id, seconds=LOST_S)

    assert lab.problems(record, "a", bench.vendor, tape(bench.redis, run_id)) == []
    assert nothing_held(bench.redis)
    assert record.reason is (Reason.EFFECT_UNKNOWN if strike in IN_DOUBT else Reason.OK)


async def test_a_lost_run_goes_on_as_if_nothing_had_happened(bench: Bench) -> None:
    """Output, result, usage and calls are those of one execution; nobody sees a line twice."""
    with bench.worker(direct=False) as doomed:
        plain = await ended(bench.store, await submit(bench.store, lab.request("p")))
        struck = lab.arm(
            Strike(Boundary.REQUEST, 5, happened=True), bench.redis, bench.wire, bench.vendor
        )
        run_id = await submit(bench.store, lab.request("a"))
        lab.wait_for(struck, Strike(Boundary.REQUEST, 5, happened=True))
        doomed.kill()
    bench.vendor.release()
    with bench.worker():
        record = await ended(bench.store, run_id, seconds=LOST_S)
        events = [event async for event in bench.store.events(TENANT, run_id)]

    assert record.attempt == 2
    assert record.usage.instructions == plain.usage.instructions
    assert record.output == lab.output("a")
    assert "".join(one.data["text"] for one in events if one.type == "log") == record.output
    assert sorted(one.data["seq"] for one in events if one.type == "call") == list(range(1, 8))


async def test_an_unknown_effect_may_be_the_scripts_to_handle(bench: Bench) -> None:
    """With `on_unknown` raise the script gets an error of code `effect_unknown`, once and again."""
    script = """
    local ok, problem = pcall(app.integrations.till.pay, { tag = "u" })
    print(ok, problem.code, problem.retriable)
    app.integrations.till.price({ tag = "u" })
    return problem.code
    """
    request = RunRequest(script=script, on_unknown="raise")
    with bench.worker(direct=False) as doomed:
        bench.vendor.arm(Hold.AFTER)
        run_id = await submit(bench.store, request)
        Deadline().until(bench.vendor.struck.is_set, "the request")
        doomed.kill()
    bench.vendor.release()
    bench.vendor.arm(Hold.BEFORE)
    with bench.worker() as second:
        Deadline().until(bench.vendor.struck.is_set, "the second call", seconds=LOST_S)
        second.kill()
    bench.vendor.release()
    with bench.worker():
        record = await ended(bench.store, run_id, seconds=LOST_S)

    assert (record.reason, record.result, record.attempt) == (Reason.OK, "effect_unknown", 3)
    assert record.output == "false\teffect_unknown\tfalse\n"
    assert [(one.name, one.effect) for one in record.calls] == [
        ("till.pay", "unknown"),
        ("till.price", "succeeded"),
    ]
    assert bench.vendor.done["u"] == 1


async def test_what_a_script_sees_is_that_of_its_first_attempt(bench: Bench) -> None:
    """A pack that is gone at resume time is still seen; its function is not sent again."""
    script = """
    local seen = app.integrations.till ~= nil
    app.integrations.till.price({ tag = "s" })
    print(seen, app.integrations.till ~= nil)
    return select(2, pcall(app.integrations.till.pay_once, { tag = "s" })).code
    """
    with bench.worker() as doomed:
        bench.vendor.arm(Hold.BEFORE, 2)
        run_id = await submit(bench.store, RunRequest(script=script))
        Deadline().until(bench.vendor.struck.is_set, "the request")
        doomed.kill()
    bench.vendor.release()
    with running_worker(bench.url, slots=1):  # knows neither the pack nor the account
        record = await ended(bench.store, run_id, seconds=LOST_S)

    assert record.reason is Reason.EFFECT_UNKNOWN
    assert record.output == "true\ttrue\n"
    assert [one.effect for one in record.calls] == ["succeeded", "unknown"]
    assert bench.vendor.done["s"] == 0


async def test_a_frozen_worker_that_wakes_sends_and_writes_nothing_more(bench: Bench) -> None:
    """Stopped while a write's answer is on its way, awake after another took the run: fenced."""
    script = """
    app.integrations.till.pay_once({ tag = "f" })
    app.integrations.till.pay({ tag = "g" })
    return 1
    """
    with bench.worker() as frozen:
        bench.vendor.arm(Hold.BEFORE)
        run_id = await submit(bench.store, RunRequest(script=script))
        Deadline().until(bench.vendor.struck.is_set, "the request")
        frozen.signal(signal.SIGSTOP)
        with bench.worker() as other:
            record = await ended(bench.store, run_id, seconds=LOST_S)
            other.stop()
        before = picture(bench.redis, run_id)
        bench.vendor.release()
        frozen.signal(signal.SIGCONT)
        assert (await ended(bench.store, await submit(bench.store))).reason is Reason.OK

    assert (record.reason, record.attempt) == (Reason.OK, 2)
    assert (bench.vendor.done["f"], bench.vendor.done["g"]) == (1, 1)
    assert picture(bench.redis, run_id) == before


@pytest.mark.parametrize("hold", list(Hold), ids=lambda one: one.name)
async def test_a_byte_that_was_leaving_when_its_worker_froze_is_unknown(
    bench: Bench, hold: Hold
) -> None:
    """Between intent and pause it may have left: nobody knows, nobody sends it again."""
    with bench.worker() as frozen:
        bench.vendor.arm(hold)
        script = 'return app.integrations.till.pay({ tag = "b" })'
        run_id = await submit(bench.store, RunRequest(script=script))
        Deadline().until(bench.vendor.struck.is_set, "the request")
        frozen.signal(signal.SIGSTOP)
        with bench.worker() as other:
            record = await ended(bench.store, run_id, seconds=LOST_S)
            other.stop()
        before = picture(bench.redis, run_id)
        bench.vendor.release()
        frozen.signal(signal.SIGCONT)
        assert (await ended(bench.store, await submit(bench.store))).reason is Reason.OK

    assert (record.reason, [one.effect for one in record.calls]) == (
        Reason.EFFECT_UNKNOWN,
        ["unknown"],
    )
    assert bench.vendor.done["b"] == (1 if hold is Hold.AFTER else 0)
    assert bench.vendor.asked["b"] <= 1
    assert picture(bench.redis, run_id) == before


async def test_a_run_that_costs_its_worker_every_time_ends(bench: Bench) -> None:
    """After the last attempt it is `worker_lost`; it does not go round for ever."""
    run_id = await submit(bench.store, lab.request("x"))
    for _ in range(2):
        bench.vendor.arm(Hold.BEFORE)
        with bench.worker(attempts=2) as doomed:
            Deadline().until(bench.vendor.struck.is_set, "the request", seconds=LOST_S)
            doomed.kill()
        bench.vendor.release()
    with bench.worker(attempts=2):
        record = await ended(bench.store, run_id, seconds=LOST_S)

    assert (record.reason, record.attempt) == (Reason.WORKER_LOST, 2)
    assert record.error is not None
    assert "in each of 2 attempts" in record.error.message


async def test_what_a_tenant_may_no_longer_call_is_not_sent_any_more(bench: Bench) -> None:
    """Grants are asked again of today: what is on the tape stands, what comes after is refused."""
    script = """
    print(app.integrations.till.price({ tag = "g" }).value)
    local paid = app.integrations.till.pay_once({ tag = "g" })
    local ok, problem = pcall(app.integrations.till.pay, { tag = "g" })
    return { paid.value, problem.code }
    """
    with bench.worker(direct=False) as doomed:
        await ended(bench.store, await submit(bench.store))
        strike = Strike(Boundary.EFFECT, 2, happened=True)
        struck = lab.arm(strike, bench.redis, bench.wire, bench.vendor)
        run_id = await submit(bench.store, RunRequest(script=script))
        lab.wait_for(struck, strike)
        doomed.kill()
    async with connect_async(bench.url) as client:
        rules = GrantSet.parse(["till:read"])
        await GrantStore(client).set(TENANT, None, rules, by="cli")
    with bench.worker():
        record = await ended(bench.store, run_id, seconds=LOST_S)

    assert (record.reason, record.result) == (Reason.OK, [1, "denied"])
    assert [one.effect for one in record.calls] == ["succeeded", "succeeded", "denied"]
    assert bench.vendor.done["g"] == 1


@pytest.mark.parametrize("how", ["api", "rq"])
async def test_a_run_cancelled_between_two_attempts_is_cancelled(bench: Bench, how: str) -> None:
    """While nobody executes it, it can be cancelled; what its tape says is in the record."""
    with bench.worker() as busy:
        other = await submit(bench.store, ENDLESS)
        await in_state(bench.store, other, State.RUNNING)
        with bench.worker() as doomed:
            bench.vendor.arm(Hold.AFTER, 2)
            run_id = await submit(bench.store, lab.request("c"))
            Deadline().until(bench.vendor.struck.is_set, "the request")
            doomed.kill()
        job = Job.fetch(run_id, connection=bench.redis, serializer="json")
        Deadline().until(lambda: job.get_status() == "queued", "its place in the queue")
        if how == "api":
            await bench.store.cancel(TENANT, run_id)
        else:
            job.cancel()
        await bench.store.cancel(TENANT, other)
        record = await ended(bench.store, run_id, seconds=LOST_S)
        busy.stop()
    bench.vendor.release()

    assert (record.reason, record.attempt) == (Reason.CANCELLED, 2)
    assert [(one.name, one.effect) for one in record.calls] == [
        ("till.price", "succeeded"),
        ("till.pay_once", "unknown"),
    ]
    assert nothing_held(bench.redis)
