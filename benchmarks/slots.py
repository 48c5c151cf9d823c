"""Many runs that wait for a vendor, side by side in one worker process: time and memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis.asyncio

from benchmarks import vendor
from benchmarks.figures import Row, spread
from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from runs.model import RunRequest, State
from runs.store import RunStore

RUNS = 200
ROUNDS = 3
_PACKS = Path(__file__).with_name("packs")
_SCRIPT = 'return app.integrations.slow.get_report({ report_id = "r" .. input }).data.id'
_LOOK_S = 0.05


@dataclass(slots=True)
class Peak:
    """The most memory that a process and all its descendants had together, in bytes."""

    root: int
    #: Resident, pages that several share counted once for each.
    rss: int = 0
    #: Proportional: pages that n share counted as 1/n for each.
    pss: int = 0
    most: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look again and again, until `stop`."""
        while not self._over.wait(_LOOK_S):
            tree = list(_tree(self.root))
            self.most = max(self.most, len(tree))
            self.rss = max(self.rss, sum(_kib(pid, "status", "VmRSS:") for pid in tree) * 1024)

    def weigh(self) -> None:
        """Look once at what pages are shared: it takes longer."""
        tree = list(_tree(self.root))
        self.pss = max(self.pss, sum(_kib(pid, "smaps_rollup", "Pss:") for pid in tree) * 1024)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()


def _tree(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    level = [root]
    while level:
        yield from level
        level = [child for parent in level for child in children.get(parent, [])]


def _kib(pid: int, file: str, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


@contextmanager
def _worker(redis_url: str, vendor_url: str, directory: Path) -> Iterator[int]:
    """Serve with as many slots as there are runs, and give the process id."""
    accounts = directory / "accounts.toml"
    keys = f'token = "slow-000001"\nurl = "{vendor_url}"\n'
    accounts.write_text(f"[tenants.bench.slow.default]\n{keys}")
    accounts.chmod(0o600)
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "MOONSAND_LOG_LEVEL": "warning",
        "MOONSAND_PACKS_DIR": str(_PACKS),
        "MOONSAND_ACCOUNTS": str(accounts),
    }
    command = [sys.executable, "-m", "moonsand", "worker", "--slots", str(RUNS)]
    process = subprocess.Popen(command, env=environment, cwd=Path.cwd())
    try:
        with connect(redis_url) as client:
            while not client.scard("rq:workers"):
                time.sleep(_LOOK_S)
        yield process.pid
    finally:
        process.terminate()
        process.wait(40)


async def _round(client: redis.asyncio.Redis, peak: Peak) -> float:
    """Give the seconds from the first submission to the last end."""
    store = RunStore(client)
    began = time.perf_counter()
    requests = [RunRequest(script=_SCRIPT, input=number) for number in range(RUNS)]
    records = [await store.submit("bench", one, key_id="bench") for one in requests]
    for record in records:
        async for _ in store.events("bench", record.id):
            if not peak.pss and time.perf_counter() - began > vendor.SLOW_S / 2 + 0.5:
                await asyncio.to_thread(peak.weigh)
    took = time.perf_counter() - began
    for record in records:
        ended = await store.get("bench", record.id)
        assert ended.status is State.SUCCEEDED, ended
    return took


async def many_waiting() -> list[Row]:
    """Measure `RUNS` runs of one tenant that each wait two seconds for one answer."""
    with (
        tempfile.TemporaryDirectory() as name,
        PrivateRedis(Path(name)) as server,
        vendor.served() as url,
        _worker(server.url, url, Path(name)) as pid,
    ):
        peak = Peak(pid)
        watching = threading.Thread(target=peak.watch)
        async with connect_async(server.url) as client:
            watching.start()
            took = [await _round(client, peak) for _ in range(ROUNDS)]
            peak.stop()
            watching.join()
    memory = f"{peak.rss / 2**30:.2f} GiB resident, {peak.pss / 2**30:.2f} GiB proportional"
    return [
        Row(f"{RUNS} runs of 2 s at a vendor, one worker", spread(took, "s"), "", "", "< 4 s"),
        Row(f"its process tree, {peak.most} processes", memory, "", "", "< 2.5 GB"),
    ]
