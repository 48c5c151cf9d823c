"""`moonsand serve`, and `api`, `worker`, `scheduler`, `sequencer`: the service or one role."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand.exits import Exit, UsageFault
from moonsand.signals import until_stopped
from moonsand.terminal import write_error, write_output

if TYPE_CHECKING:
    from moonsand.local_service import Plan

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where Redis keeps its data (default: moonsand in the state directory)."),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on (MOONSAND_HOST).")]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65_535, help="Port to listen on; 0 is any free one (MOONSAND_PORT)."),
]
Slots = Annotated[
    int | None,
    typer.Option(min=1, max=1_024, help="Runs at once in one worker (MOONSAND_SLOTS)."),
]


def serve(
    host: Host = None,
    port: Port = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    slots: Slots = None,
    accounts: Annotated[
        Path | None, typer.Option(help="TOML file of vendor accounts (MOONSAND_ACCOUNTS).")
    ] = None,
    data_dir: DataDir = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show logs here.")] = False,
) -> int:
    """Start Redis, the API, workers, scheduler and sequencer here; Ctrl-C stops all of them."""
    from core.settings import load_settings
    from moonsand.local_service import Plan, directory_of
    from moonsand.local_state import default_directory

    settings = load_settings(host=host, port=port, slots=slots)
    directory = directory_of(data_dir, default_directory())
    log = None if verbose else directory / "serve.log"
    plan = Plan(settings, directory, workers, log, accounts, write_error)
    asyncio.run(until_stopped(_serve(plan)))
    return Exit.SUCCEEDED


async def _serve(plan: Plan) -> None:
    from moonsand.local_service import local_service

    async with local_service(plan) as running:
        write_output(
            f"API    {running.url}\n"
            f"key    {running.key}  (tenant development)\n"
            f"Redis  {running.redis_url}\n" + (f"log    {plan.log}\n" if plan.log else "") + "\n"
            "Try    moonsand submit -e 'return 1 + 1' --wait\n"
            "Stop   Ctrl-C\n"
        )
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            write_error("stopping")


def api(
    host: Host = None,
    port: Port = None,
    fd: Annotated[
        int | None, typer.Option(min=3, help="Descriptor of a socket that already listens.")
    ] = None,
) -> int:
    """Serve the HTTP API; it needs REDIS_URL."""
    from api.main import run_api
    from core.settings import load_settings

    listener = None if fd is None else _inherited(fd)
    return run_api(load_settings(host=host, port=port), listener=listener)


def _inherited(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as error:
        raise UsageFault(f"--fd {fd} is no socket: {error.strerror}") from None


def worker(
    slots: Slots = None,
    burst: Annotated[bool, typer.Option("--burst", help="End when all queues are empty.")] = False,
) -> int:
    """Execute runs; it needs REDIS_URL, and MOONSAND_ACCOUNTS for calls to vendors."""
    from core.settings import load_settings
    from worker.main import run_worker

    settings = load_settings(slots=slots)
    return run_worker(settings, slots=settings.slots, burst=burst)


def sequencer() -> int:
    """Keep the ledger; it needs REDIS_URL, MOONSAND_LEDGER_DIR and MOONSAND_LEDGER_KEY_FILE."""
    from core.settings import load_settings
    from worker.sequencing import run_sequencer

    return run_sequencer(load_settings())


def scheduler() -> int:
    """Feed batches, fire schedules and send callbacks; it needs REDIS_URL."""
    from core.settings import load_settings
    from scheduler.main import run_scheduler

    return run_scheduler(load_settings())
