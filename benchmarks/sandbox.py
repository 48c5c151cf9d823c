"""A fresh jailed child a run, beside Pydantic Monty's reused worker and a bare fork."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pydantic_monty

from benchmarks.figures import Row, median, percentile, spread
from benchmarks.process_cpu import tree_cpu_us
from sandbox.calls import Call, Reply, StartRequest
from sandbox.supervisor import Sandbox

ROUNDS = 5
RUNS = 200
FORKS = 300
GAP_S = 0.004
_REQUEST = StartRequest(script=b"return 1+1")


async def _no_calls(call: Call) -> Reply:
    raise AssertionError(call.name)


async def _ours_ms(sandbox: Sandbox) -> tuple[list[float], list[float]]:
    answered, judged = [], []
    for _ in range(RUNS):
        await asyncio.sleep(GAP_S)  # until the spare that was taken is there again
        began = time.perf_counter()
        outcome = await sandbox.run(_REQUEST, _no_calls)
        judged.append((time.perf_counter() - began) * 1000)
        assert outcome.result == b"2", outcome
        answered.append(outcome.answered_us / 1000)
    return answered, judged


def _monty_ms(pool: pydantic_monty.Monty) -> list[float]:
    took = []
    for _ in range(RUNS):
        time.sleep(GAP_S)
        began = time.perf_counter()
        with pool.checkout() as session:
            assert session.feed_run("1+1") == 2
        took.append((time.perf_counter() - began) * 1000)
    return took


async def latency() -> list[Row]:
    """Measure lease to result with a warm spare, rounds interleaved with the peer's."""
    answered, judged, peer = [], [], []
    async with Sandbox(4) as sandbox:
        with pydantic_monty.Monty() as pool:
            for _ in range(ROUNDS):
                ours, ended = await _ours_ms(sandbox)
                answered.append(percentile(ours, 0.5))
                judged.append(percentile(ended, 0.5))
                peer.append(percentile(_monty_ms(pool), 0.5))
    ratio = median([a / b for a, b in zip(answered, peer, strict=True)])
    ended_ratio = median([a / b for a, b in zip(judged, peer, strict=True)])
    monty = "Monty, reused worker: " + spread(peer, "ms")
    return [
        Row("lease to result of `return 1+1`, p50", spread(answered, "ms"), monty, f"{ratio:.1f}",
            "<= 1 ms"),
        Row("lease to judged outcome (child dead and reaped), p50", spread(judged, "ms"), monty,
            f"{ended_ratio:.1f}", ""),
    ]  # fmt: skip


def _bare_fork_us() -> float:
    read, write = os.pipe()
    # Started as the zygote is: without site, without an environment, symbols bound at once.
    boot = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[3]);"
        "from benchmarks.bare_fork import main; main(int(sys.argv[1]), int(sys.argv[2]))"
    )
    paths = json.dumps([str(Path(entry).resolve()) for entry in sys.path])
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", boot, str(write), str(FORKS), paths],
        pass_fds=[write],
        env={"LD_BIND_NOW": "1"},
        check=True,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        return float(pipe.read())


async def _saturated_us(sandbox: Sandbox) -> tuple[float, float, float]:
    zygote = sandbox.zygote_pid
    before, ours, began = tree_cpu_us(zygote), time.process_time(), time.perf_counter()

    async def lane() -> None:
        for _ in range(RUNS // 2):
            await sandbox.run(_REQUEST, _no_calls)

    await asyncio.gather(*[lane() for _ in range(4)])
    count = RUNS * 2
    jailed = (tree_cpu_us(zygote) - before) / count
    supervisor = (time.process_time() - ours) * 1e6 / count
    return jailed, supervisor, count / (time.perf_counter() - began)


async def saturation() -> list[Row]:
    """Measure the CPU of zygote and child a run at saturation, beside a bare fork."""
    jailed, supervisor, rates, bare = [], [], [], []
    async with Sandbox(8) as sandbox:
        await sandbox.run(_REQUEST, _no_calls)
        for _ in range(ROUNDS):
            bare.append(await asyncio.to_thread(_bare_fork_us))
            ours, above, rate = await _saturated_us(sandbox)
            jailed.append(ours)
            supervisor.append(above)
            rates.append(rate)
    ratio = median([a / b for a, b in zip(jailed, bare, strict=True)])
    return [
        Row("CPU of zygote and child a run, at saturation", spread(jailed, "us", 0),
            "bare fork+exit+wait: " + spread(bare, "us", 0), f"{ratio:.2f}", "<= 2"),
        Row("CPU of the supervisor a run, at saturation", spread(supervisor, "us", 0), "", "", ""),
        Row("runs a second, sandbox alone", spread(rates, "/s", 0), "", "", ""),
    ]  # fmt: skip
