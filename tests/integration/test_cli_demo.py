"""`moonsand demo` shows every example on a real service, and says so only if all went well."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import moonsand as public
from core.redis_server import PrivateRedis
from tests.command import MOONSAND, children, environment, is_running, moonsand
from tests.deadline import Deadline

pytestmark = [pytest.mark.jail, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "examples" / "mux").glob("*.lua"))


def test_the_demo_runs_every_example() -> None:
    """Each file of examples/mux is submitted and succeeds; states, calls and usage are shown."""
    done = moonsand("demo", seconds=110)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if "  run_" in line] == EXAMPLES
    assert f"{len(EXAMPLES)} of {len(EXAMPLES)} runs ended as they should" in lines
    assert re.search(r"API at http://127\.0\.0\.1:\d+", done.stdout)
    for shown in ("  queued", "  running", "  succeeded", "  result null"):
        assert lines.count(shown) == len(EXAMPLES)
    assert any(line.startswith("  call mux.list_assets (read) succeeded, ") for line in lines)
    assert "\x1b" not in done.stdout


def test_the_demo_of_a_killed_worker_shows_one_write_and_its_proof() -> None:
    """With --crash a worker is killed mid-run: two attempts, one write, a receipt that verifies."""
    done = moonsand("demo", "--crash", seconds=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.strip() for line in done.stdout.splitlines() if "ok: " in line] == [
        "ok: the worker was killed; the run took 2 attempts",
        "ok: the vendor counted 1 write",
        "ok: the run has a receipt",
        "ok: `moonsand audit verify` finds the archive whole",
    ]
    assert "WRONG" not in done.stdout


def test_a_demo_that_is_kept_can_be_used_and_leaves_nothing(deadline: Deadline) -> None:
    """With --keep the service answers to the printed key until Ctrl-C, then all of it ends."""
    with subprocess.Popen(
        [*MOONSAND, "demo", "--keep"], stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        line = next(one for one in process.stdout if one.startswith("export "))
        url, key = re.findall(r"=(\S+)", line)
        family = list(children(process.pid))
        with public.Client(url, key) as client:
            assert client.submit("return 1", wait_s=20).result == 1
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 0
    deadline.until(lambda: not any(map(is_running, family)), "the end of all its processes")


def test_ctrl_c_in_the_middle_leaves_nothing(deadline: Deadline) -> None:
    """Interrupted while it runs, the demo ends with 130 and takes its processes with it."""
    # It fills a small pipe and goes no further until somebody reads: it cannot end before.
    with subprocess.Popen(
        [*MOONSAND, "demo"], stdout=subprocess.PIPE, bufsize=0, pipesize=4096, env=environment()
    ) as process:
        assert process.stdout is not None
        next(one for one in process.stdout if one.startswith(b"API at "))
        family = list(children(process.pid))
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 130
    deadline.until(lambda: not any(map(is_running, family)), "the end of all its processes")


def test_the_stubs_command_serves_until_ctrl_c(tmp_path: Path) -> None:
    """`moonsand stubs` writes an accounts file that `moonsand run` can use, for its owner only."""
    accounts = tmp_path / "stubs.toml"
    with subprocess.Popen(
        [*MOONSAND, "stubs", "--accounts-out", str(accounts)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("mux at http://127.0.0.1:")
        assert accounts.stat().st_mode & 0o077 == 0
        example = str(ROOT / "examples" / "mux" / "list_assets.lua")
        assert moonsand("run", example, "--accounts", str(accounts)).returncode == 0
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 0


def test_doctor_says_what_this_host_can_do(tmp_path: Path) -> None:
    """Here everything required is there; a Redis that is away, or a bad setting, is not."""
    report = json.loads(moonsand("doctor", "--json").stdout)
    assert report["ok"] is True
    assert {check["area"] for check in report["checks"]} == {"jail", "settings", "redis"}
    assert all(check["ok"] or not check["required"] for check in report["checks"])

    away = moonsand("doctor", env=environment(REDIS_URL=f"unix://{tmp_path}/none"))
    assert away.returncode == 1
    assert "MISSING  redis" in away.stdout
    misspelt = moonsand("doctor", env=environment(MOONSAND_PROT="1"))
    assert misspelt.returncode == 1
    assert "did you mean MOONSAND_PORT?" in misspelt.stdout


def test_a_reader_that_leaves_is_no_bug() -> None:
    """`moonsand run ... | head` ends without a traceback."""
    code = "for i = 1, 20000 do print(i) end"
    with subprocess.Popen(
        [*MOONSAND, "run", "-e", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complained = process.stderr.read()
    assert complained == b""
    assert process.returncode == 1


def test_a_container_without_a_living_worker_is_unhealthy(tmp_path: Path) -> None:
    """The worker's health check fails where no worker of this host gave a sign of life."""
    with PrivateRedis(tmp_path) as server:
        done = subprocess.run(
            [sys.executable, "-m", "moonsand.worker_health"],
            env=environment(REDIS_URL=server.url),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "no heartbeat of a worker here for 90 s\n"
