"""
The demo of a lost worker: killed in the middle of a run, which ends all the same, once.

The script reads, writes, and reads again. While the vendor keeps the second read waiting, its
worker is killed. Another attempt runs the script over the tape: the first read and the write are
answered from it, and only the second read goes out again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import httpx2

from integrations.stubs import Stubs, running_stubs
from integrations.stubs.faults import Fault
from moonsand.client import AsyncClient
from moonsand.demo import plan_of
from moonsand.demo_view import DemoView
from moonsand.exits import Exit
from moonsand.local_ledger import ledger_directory, public_key_in
from moonsand.local_service import Running, local_service
from moonsand.signals import until_stopped

SCRIPT = """\
local mux = app.integrations.mux
print("live streams: " .. #mux.list_live_streams{}.data)
local asset = mux.create_asset{
  input = "https://storage.example.com/video.mp4", playback_policy = {"public"},
}
print("created asset " .. asset.data.id)
print("assets: " .. #mux.list_assets{}.data)
return asset.data.id
"""
WORKER = "worker 1"
_WRITE, _SLOW_READ = "POST /video/v1/assets", "GET /video/v1/assets"
_ATTEMPTS = 2
_LOOK_S = 0.02
_RECEIPT_S = 60.0


async def run_crash_demo() -> Exit:
    """Kill a worker in the middle of a run; succeed only if all that must hold does."""
    view = DemoView()
    ended = await until_stopped(_demo(view))
    if not ended and not view.complete:
        return Exit.INTERRUPTED
    return Exit.SUCCEEDED if view.good else Exit.FAILED


async def _demo(view: DemoView) -> None:
    with tempfile.TemporaryDirectory(prefix="moonsand-demo-") as home:
        accounts = Path(home) / "accounts.toml"
        with running_stubs(accounts) as stubs:
            view.starting()
            plan = plan_of(Path(home), accounts)
            async with local_service(plan) as running:
                view.up(running.url)
                run_id = await _crash(running, stubs, view)
                await _prove(running, run_id, view)
                status = await _verify(ledger_directory(plan.settings, plan.directory), view)
                view.check("`moonsand audit verify` finds the archive whole", good=status == 0)
                view.end(running.url)


async def _crash(running: Running, stubs: Stubs, view: DemoView) -> str:
    vendor = stubs.mux_faults
    writes = vendor.counts[_WRITE]
    # Nobody is answered before a second request is there: that of the next attempt.
    vendor.add(Fault("gather", route=_SLOW_READ, times=2, together=2))
    async with AsyncClient(running.url, running.key) as client:
        run = await client.submit(SCRIPT, name="crash.lua")
        view.submitted("crash.lua", run.id)
        killing = asyncio.create_task(_kill_when_asked(running, stubs, view))
        try:
            async for event in client.events(run.id):
                view.event(event)
        finally:
            killing.cancel()
        record = await client.get(run.id)
        view.ended(record)
    written = vendor.counts[_WRITE] - writes
    again = record.attempt == _ATTEMPTS
    view.check(f"the worker was killed; the run took {record.attempt} attempts", good=again)
    view.check(f"the vendor counted {written} write", good=written == 1)
    return run.id


async def _kill_when_asked(running: Running, stubs: Stubs, view: DemoView) -> None:
    """Kill the worker while the vendor has the slow read in hand."""
    # The stub is served by a thread of its own: nothing in this loop is told of its requests.
    while not stubs.mux_faults.counts[_SLOW_READ]:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    pid = running.fleet.pids[WORKER]
    view.say(f"kill -9 {pid}: the worker, while Mux has a call in hand")
    os.kill(pid, signal.SIGKILL)


async def _prove(running: Running, run_id: str, view: DemoView) -> None:
    receipt = await _receipt(running, run_id)
    if receipt is not None:
        view.say("checkpoint " + " ".join(receipt["checkpoint"].split("\n")[:3]))
        for one in receipt["leaves"]:
            view.say(f"leaf {one['index']}, {len(one['proof'])} hashes of proof")
    view.check("the run has a receipt", good=receipt is not None)


async def _receipt(running: Running, run_id: str) -> dict[str, Any] | None:
    """Wait for the receipt of a run; None if it does not come."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _RECEIPT_S
    headers = {"Authorization": f"Bearer {running.key}"}
    async with httpx2.AsyncClient(base_url=running.url, headers=headers, trust_env=False) as http:
        while loop.time() < end:
            answer = await http.get(f"/v1/runs/{run_id}/receipt")
            if answer.status_code == httpx2.codes.OK:
                receipt: dict[str, Any] = answer.json()
                return receipt
            await asyncio.sleep(_LOOK_S * 10)
    return None


async def _verify(archive: Path, view: DemoView) -> int:
    arguments = ["audit", "verify", str(archive), "--log-key", public_key_in(archive)]
    view.say(" ".join(["moonsand", *arguments]))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "moonsand", *arguments, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await process.communicate()
    for line in said.decode(errors="replace").splitlines():
        view.say(line)
    return process.returncode or 0
