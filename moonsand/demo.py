"""
The demo: every example of Mux through a whole service, against a loopback stub of Mux's API.

Nothing leaves this machine. Redis, the API and one worker are real processes.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unavailable
from core.redis_server import find_server
from core.settings import Settings, load_settings
from integrations.stubs.server import serve_stubs
from moonsand.client import AsyncClient
from moonsand.demo_view import DemoView
from moonsand.exits import Exit
from moonsand.local_service import Plan, Running, local_service
from moonsand.signals import stop_signal
from moonsand.stub_accounts import write_accounts
from moonsand.terminal import write_error
from runs.model import RunRecord, State


@dataclass(frozen=True, slots=True)
class Example:
    """One script, under the name of its file."""

    name: str
    script: str


async def run_demo(*, keep: bool) -> Exit:
    """Run all examples; succeed only if each did."""
    view = DemoView()
    stop = stop_signal()
    with tempfile.TemporaryDirectory(prefix="moonsand-demo-") as home:
        async with serve_stubs() as stubs:
            accounts = Path(home) / "accounts.toml"
            write_accounts(accounts, stubs)
            plan = _plan(Path(home), accounts)
            view.starting()
            async with local_service(plan) as running:
                return await _tour(running, view, stop, keep=keep)


def _plan(home: Path, accounts: Path) -> Plan:
    return Plan(
        settings=Settings(port=0, slots=2, redis_url=_foreign_redis()),
        directory=home / "service",
        log=home / "service.log",
        accounts=accounts,
        notice=write_error,
    )


def _foreign_redis() -> str | None:
    """Give REDIS_URL only where no server of our own can be had: a worker there may take runs."""
    try:
        find_server()
    except Unavailable:
        return load_settings().redis_url
    return None


async def _tour(running: Running, view: DemoView, stop: asyncio.Event, *, keep: bool) -> Exit:
    view.up(running.url)
    work = asyncio.create_task(_run_all(running, view))
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        return Exit.INTERRUPTED
    ended.cancel()
    good = work.result()
    view.end(running.url)
    if keep:
        view.kept(running.url, running.key)
        await stop.wait()
    return Exit.SUCCEEDED if good else Exit.FAILED


async def _run_all(running: Running, view: DemoView) -> bool:
    good = True
    async with AsyncClient(running.url, running.key) as client:
        for example in examples():
            record = await _run_one(client, example, view)
            view.ended(record)
            good = good and record.status is State.SUCCEEDED
    return good


async def _run_one(client: AsyncClient, example: Example, view: DemoView) -> RunRecord:
    run = await client.submit(example.script, name=example.name)
    view.submitted(example.name, run.id)
    async for event in client.events(run.id):
        view.event(event)
    return await client.get(run.id)


def examples() -> list[Example]:
    """
    Give the example scripts, from the installed package or the checkout.

    Raises:
        FileNotFoundError: there are none.
    """
    here = Path(__file__).parent
    for folder in (here / "examples" / "mux", here.parent / "examples" / "mux"):
        found = sorted(folder.glob("*.lua"))
        if found:
            return [Example(path.name, path.read_text()) for path in found]
    raise FileNotFoundError("no examples were installed")
