"""What it costs that an intent is safe before its call leaves: `appendfsync`, and replicas."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from benchmarks.figures import Row, median, percentile
from core import keys
from core.redis_client import connect_async
from core.redis_server import find_server
from ledger.redis_tape import NO_REPLICAS, RedisTape, Replicas
from ledger.tape import Kind

_ENTRIES = 1_000
_WARM = 50
_START_S = 10.0
_BODY = {"seq": 1, "name": "mux.create_asset", "effect_class": "write", "preview": "x" * 300}


async def intents() -> list[Row]:
    """Append intents under each setting; `everysec` without replicas is the peer of the others."""
    with tempfile.TemporaryDirectory() as place:
        async with _pair(Path(place)) as client:
            base = await _appends_ms(client, "everysec", NO_REPLICAS)
            always = await _appends_ms(client, "always", NO_REPLICAS)
            waited = await _appends_ms(client, "everysec", Replicas(1))
            both = await _appends_ms(client, "always", Replicas(1))
    found = {
        "appendfsync always": always,
        "1 replica (WAIT)": waited,
        "appendfsync always, 1 replica (WAIT)": both,
    }
    return [
        Row(
            f"tape: one intent, {name}",
            _shown(values),
            f"everysec {_shown(base)}",
            f"{median(values) / median(base):.1f}",
            "-",
        )
        for name, values in found.items()
    ]


def _shown(values: list[float]) -> str:
    return f"{median(values):.2f} ms, p99 {percentile(values, 0.99):.2f} ms"


async def _appends_ms(
    client: redis.asyncio.Redis, appendfsync: str, replicas: Replicas
) -> list[float]:
    await client.config_set("appendfsync", appendfsync)
    run_id = f"run_{appendfsync}{replicas.count}"
    first = {"kind": "accepted", "at_ms": 0, "body": b"{}"}
    await client.xadd(keys.tape(run_id), first, id="1-0")  # type: ignore[arg-type]
    tape = RedisTape(client, run_id, 2, replicas=replicas)
    taken = []
    for _ in range(_WARM + _ENTRIES):
        began_s = time.perf_counter()
        await tape.append(Kind.INTENT, _BODY)
        taken.append((time.perf_counter() - began_s) * 1000)
    return taken[_WARM:]


@contextlib.asynccontextmanager
async def _pair(place: Path) -> AsyncIterator[redis.asyncio.Redis]:
    """Give a client of a server that writes a file and has one replica, all on this machine."""
    main, other = _free_port(), _free_port()
    with (
        _server(place / "main", main),
        _server(place / "other", other, "--replicaof", f"127.0.0.1 {main}"),
    ):
        async with connect_async(f"redis://127.0.0.1:{main}") as client:
            end_s = time.monotonic() + _START_S
            while not await _has_replica(client):
                if time.monotonic() > end_s:
                    raise TimeoutError("the replica did not come")
            yield client


async def _has_replica(client: redis.asyncio.Redis) -> bool:
    with contextlib.suppress(RedisError):
        await client.set("there", 1)
        return bool(await client.wait(1, 100))
    return False


@contextlib.contextmanager
def _server(directory: Path, port: int, *more: str) -> Iterator[None]:
    directory.mkdir()
    command = [str(find_server()), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--dir", str(directory), "--appendonly", "yes", "--save", "", *more]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
