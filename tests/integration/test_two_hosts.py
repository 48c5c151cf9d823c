"""Two worker hosts on one Redis, and the cable of one is pulled in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from runs.model import RunRequest
from runs.store import RunStore
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.faults.two_hosts import listen
from tests.hosts import Host, Network
from tests.integration.run_watching import TENANT, ended, picture, submit
from tests.worker_processes import LEASE_S, WorkerProcess

PAYS = RunRequest(
    script="""
    local till = app.integrations.till
    till.pay_once({ tag = "first" })
    return till.pay({ tag = "second" }).tag
    """
)


@contextmanager
def worker_on(host: Host, url: str, vendor: CountingVendor) -> Iterator[WorkerProcess]:
    """Start a worker on a host and wait until it serves."""
    worker = WorkerProcess(url, "--slots", "2", host=host, lease_s=LEASE_S, **vendor.settings)
    try:
        with connect(url) as client:
            Deadline().until(lambda: worker.name(client), "the worker's registration", seconds=20)
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.kill()


async def test_a_host_that_is_cut_off_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    """Its run goes on at the other over its tape; its late words count for nothing."""
    with (
        Network(2) as network,
        PrivateRedis(tmp_path / "redis") as server,
        CountingVendor(tmp_path, TENANT, address=network.address) as vendor,
        connect(server.url) as client,
    ):
        url = listen(client, network.address)
        steady, shaky = network.hosts
        for host in network.hosts:
            host.lead(vendor.port, network.address)
        async with connect_async(server.url) as pool:
            store = RunStore(pool)
            vendor.arm(Hold.AFTER)
            with worker_on(shaky, url, vendor):
                run_id = await submit(store, PAYS)
                Deadline().until(vendor.struck.is_set, "the first request")
                shaky.cut()
                vendor.release(answer=True)
                with worker_on(steady, url, vendor) as other:
                    record = await ended(store, run_id, seconds=30)
                    before = picture(client, run_id)
                    other.stop()
                shaky.heal()
                again = await ended(store, await submit(store), seconds=40)
                assert picture(client, run_id) == before

    assert (record.reason, record.result, record.attempt) == (Reason.OK, "second", 2)
    assert (vendor.done["first"], vendor.done["second"]) == (1, 1)
    assert (again.reason, again.attempt) == (Reason.OK, 1)
