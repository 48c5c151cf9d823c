"""
The demo: every example of Mux through a whole service, against a loopback stub of Mux's API.

Nothing leaves this machine. Redis, the API and one worker are real processes.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import ServiceError, Unavailable
from core.redis_server import find_server
from core.settings import Settings, load_settings
from integrations.stubs import running_stubs
from moonsand.client import AsyncClient
from moonsand.demo_view import DemoView
from moonsand.exits import Exit
from moonsand.local_service import Plan, Running, local_service
from moonsand.signals import until_stopped
from moonsand.terminal import write_error
from runs.model import RunRecord


@dataclass(frozen=True, slots=True)
class Example:
    """One script, under the name of its file."""

    name: str
    script: str


async def run_demo(*, keep: bool) -> Exit:
    """Run all examples; succeed only if each did."""
    view = DemoView()
    ended = await until_stopped(_demo(view, keep=keep))
    if not ended and not view.complete:
        return Exit.INTERRUPTED
    return Exit.SUCCEEDED if view.good else Exit.FAILED


async def _demo(view: DemoView, *, keep: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="moonsand-demo-") as home:
        accounts = Path(home) / "accounts.toml"
        with running_stubs(accounts):
            view.starting()
            plan = plan_of(Path(home), accounts)
            try:
                async with local_service(plan) as running:
                    await _show(running, view, keep=keep)
            except ServiceError:
                view.log(plan.log)  # it goes with the directory
                raise


async def _show(running: Running, view: DemoView, *, keep: bool) -> None:
    view.up(running.url)
    await _run_all(running, view)
    view.end(running.url)
    if keep:
        view.kept(running.url, running.key)
        await asyncio.get_running_loop().create_future()


def plan_of(home: Path, accounts: Path) -> Plan:
    """Give what a demo starts in its own directory."""
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


async def _run_all(running: Running, view: DemoView) -> None:
    async with AsyncClient(running.url, running.key) as client:
        for example in examples():
            view.ended(await _run_one(client, example, view))


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
