"""`moonsand serve` and the commands that use it: one service, in real processes, end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

import moonsand as public
from core.redis_server import PrivateRedis
from tests.command import MOONSAND, children, environment, is_running, moonsand
from tests.deadline import Deadline

pytestmark = [pytest.mark.jail, pytest.mark.timeout(120)]

#: Uses nearly nothing, for minutes: no limit may come before what the test does.
SPIN = 'print("spinning") while true do sleep(0.5) end'
LONG = ["--calls", "1000", "--wall-s", "300"]


@dataclass
class Service:
    """A running `moonsand serve`."""

    process: subprocess.Popen[str]
    url: str
    key: str
    env: dict[str, str]

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command of the same user."""
        return moonsand(*arguments, env=self.env, stdin=stdin)

    def pid_of(self, word: str) -> int | None:
        """Give the process of the fleet whose command line has a word."""
        found = [pid for pid, line in children(self.process.pid).items() if word in line]
        return found[0] if found else None

    def is_ready(self) -> bool:
        """Tell whether the service can take and execute runs."""
        try:
            return httpx2.get(f"{self.url}/readyz", trust_env=False).is_success
        except httpx2.TransportError:
            return False


@contextmanager
def serving(home: Path) -> Iterator[Service]:
    """Run `moonsand serve` on a free port with its state below `home`."""
    service = _start(home)
    try:
        yield service
    finally:
        assert service.process.stdout is not None
        service.process.stdout.close()
        service.process.kill()  # nothing outlives it, as a test below proves
        service.process.wait()


def _start(home: Path) -> Service:
    env = environment(home)
    process = subprocess.Popen(
        [*MOONSAND, "serve", "--port", "0", "--slots", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
        start_new_session=True,
    )
    assert process.stdout is not None
    told: dict[str, str] = {}
    for line in iter(process.stdout.readline, "\n"):
        assert line, "it ended"
        name, value = line.split()[:2]
        told[name] = value
    return Service(process, told["API"], told["key"], env)


def press_ctrl_c(service: Service) -> int:
    """Press Ctrl-C and give the exit code."""
    service.process.send_signal(signal.SIGINT)
    return service.process.wait(timeout=40)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests of this file."""
    with serving(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[public.Client]:
    """A client with the development key."""
    with public.Client(service.url, service.key) as opened:
        yield opened


def test_submit_finds_the_service_and_waits(service: Service) -> None:
    """Without address or key, submit finds the local service and shows output and result."""
    done = service.run("submit", "-e", 'print("hello") return 1 + 1', "--wait")
    assert (done.returncode, done.stdout) == (0, "hello\n2\n")


def test_submit_gives_the_same_document_as_run(service: Service) -> None:
    """`submit --wait --json` prints one document of the shape of `run --json`."""
    script = 'print("x") return {1, 2}'
    theirs = json.loads(service.run("submit", "-e", script, "--wait", "--json").stdout)
    ours = json.loads(service.run("run", "-e", script, "--json").stdout)
    assert list(theirs) == list(ours)
    for name in ("status", "reason", "result", "output", "error", "calls"):
        assert theirs[name] == ours[name]


def test_the_health_check_of_a_worker_sees_it(service: Service) -> None:
    """The container's health check finds the worker of this host alive."""
    state = Path(service.env["XDG_STATE_HOME"]) / "moonsand" / "serve.json"
    assert state.stat().st_mode & 0o077 == 0
    redis_url = json.loads(state.read_text())["redis_url"]
    command = [sys.executable, "-m", "moonsand.worker_health"]
    env = {**service.env, "REDIS_URL": redis_url}
    assert subprocess.run(command, env=env, timeout=30, check=False).returncode == 0


def test_a_failing_script_is_exit_code_1(service: Service) -> None:
    """Over HTTP as in place: 1 for the script's fault, its reason and line on stderr."""
    done = service.run("submit", "--wait", stdin='\nerror("no")')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "script_error (line 2): no"


def test_a_run_can_be_listed_followed_and_cancelled(service: Service, deadline: Deadline) -> None:
    """`runs`, `logs -f` and `cancel` see what `submit` made."""
    run = service.run("submit", "-e", SPIN, *LONG).stdout.strip()
    deadline.until(lambda: f"{run}  " in service.run("runs", "--state", "running").stdout)
    with subprocess.Popen(
        [*MOONSAND, "logs", "-f", run], stdout=subprocess.PIPE, text=True, env=service.env
    ) as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == "spinning\n"
        cancelled = service.run("cancel", run)
        assert cancelled.returncode == 0
        assert logs.wait(timeout=20) == 1
    rows = [json.loads(row) for row in service.run("runs", "--json").stdout.splitlines()]
    assert next(row["reason"] for row in rows if row["id"] == run) == "cancelled"


def test_tenants_do_not_see_each_other(service: Service, client: public.Client) -> None:
    """Two tenants, one run each: neither lists, reads, cancels nor follows the other's."""
    key = service.run("keys", "create", "--tenant", "acme", "--name", "test").stdout.strip()
    with public.Client(service.url, key) as other:
        mine, theirs = client.submit("return 1", wait_s=20), other.submit("return 2", wait_s=20)
        assert (mine.result, theirs.result) == (1, 2)
        assert [run.id for run in other.list().runs] == [theirs.id]
        assert theirs.id not in {run.id for run in client.list(limit=200).runs}
        for ask in (other.get, other.cancel, other.wait):
            with pytest.raises(public.NotFound, match="there is no run with this id"):
                ask(mine.id)


def test_a_revoked_key_opens_nothing(service: Service) -> None:
    """After `keys revoke` the key is refused, with exit code 2."""
    key = service.run("keys", "create", "--tenant", "gone").stdout.strip()
    listed = service.run("keys", "list", "--tenant", "gone").stdout
    assert key not in listed
    key_id = listed.split()[0]
    assert service.run("runs", "--key", key).returncode == 0
    assert service.run("keys", "revoke", key_id, "--tenant", "gone").returncode == 0
    refused = service.run("runs", "--key", key)
    assert refused.returncode == 2
    assert refused.stderr == "moonsand: the API key is unknown or was revoked\n"


def test_the_local_key_is_sent_nowhere_else(service: Service) -> None:
    """For another address the local service's key is not used."""
    done = service.run("runs", "--url", "http://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "moonsand: no API key for http://127.0.0.1:1"


def test_no_api_is_our_fault(service: Service) -> None:
    """An API that cannot be reached is exit code 3 and says where it was looked for."""
    done = service.run("runs", "--url", "http://127.0.0.1:1", "--key", service.key)
    assert done.returncode == 3
    said = "moonsand: the API at http://127.0.0.1:1 cannot be reached (ConnectError)"
    assert done.stderr.splitlines()[0] == said


def test_a_killed_worker_is_replaced(
    service: Service, client: public.Client, deadline: Deadline
) -> None:
    """After kill -9 of the worker another takes its run, and the next run succeeds."""
    lost = client.submit(SPIN, limits={"instructions": 2_000_000_000, "cpu_ms": 30_000})
    deadline.until(lambda: client.get(lost.id).status is public.State.RUNNING, "the start")
    worker = service.pid_of("moonsand worker")
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    assert client.submit("return 3", wait_s=30).result == 3
    assert service.pid_of("moonsand worker") not in {None, worker}
    deadline.until(lambda: client.get(lost.id).attempt == 2, "the second attempt", seconds=35)
    client.cancel(lost.id)
    deadline.until(lambda: client.get(lost.id).status.terminal, "the end", seconds=20)


def test_a_killed_api_is_replaced_at_its_address(
    service: Service, client: public.Client, deadline: Deadline
) -> None:
    """After kill -9 of the API the same address answers, and nothing accepted was lost."""
    run = client.submit("return 4", wait_s=20)
    api = service.pid_of("moonsand api")
    assert api is not None
    os.kill(api, signal.SIGKILL)
    deadline.until(service.is_ready, "a new API", seconds=30)
    assert client.get(run.id).result == 4


def test_a_killed_redis_is_replaced_with_its_data(
    service: Service, client: public.Client, deadline: Deadline
) -> None:
    """After kill -9 of the private Redis it is back with every run, and new runs succeed."""
    run = client.submit("return 5", wait_s=20)
    server = service.pid_of("redis.sock") or service.pid_of("-server")
    assert server is not None
    os.kill(server, signal.SIGKILL)
    deadline.until(lambda: service.pid_of("-server") not in {None, server}, "a new Redis")
    deadline.until(service.is_ready, "readiness", seconds=60)
    assert client.get(run.id).result == 5
    assert client.submit("return 6", wait_s=30).result == 6


def test_nothing_outlives_ctrl_c_nor_a_kill_and_the_next_start_knows_everything(
    tmp_path: Path, deadline: Deadline
) -> None:
    """
    Ctrl-C leaves no process behind; key and runs are there after the next start.

    Kill -9 of `moonsand serve` itself takes Redis, API, worker and children with it.
    """
    with serving(tmp_path) as first, public.Client(first.url, first.key) as client:
        run = client.submit("return 7", wait_s=20)
        family = list(children(first.process.pid))
        assert len(family) >= 4  # Redis, API, worker, its zygote
        assert press_ctrl_c(first) == 0
        deadline.until(lambda: not any(map(is_running, family)), "the end of all its processes")
    with serving(tmp_path) as second, public.Client(second.url, second.key) as client:
        assert second.key == first.key
        assert client.get(run.id).result == 7
        family = list(children(second.process.pid))
        second.process.kill()
        deadline.until(
            lambda: not any(map(is_running, family)), "the end of all its processes", seconds=45
        )


def test_a_taken_port_is_told(service: Service, tmp_path: Path) -> None:
    """A second service on the same port says so, and leaves nothing running."""
    port = service.url.rpartition(":")[2]
    done = moonsand("serve", "--port", port, env=environment(tmp_path))
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == (
        f"moonsand: cannot listen on 127.0.0.1 port {port}: Address already in use"
    )


def test_a_worker_without_a_jail_stops_the_start(tmp_path: Path) -> None:
    """`serve` on a host that cannot jail says what is wrong instead of trying for ever."""
    (tmp_path / "pyseccomp.py").write_text("raise ImportError('not here')\n")
    env = environment(tmp_path, PYTHONPATH=str(tmp_path))
    done = moonsand("serve", "--port", "0", env=env)
    assert done.returncode == 3
    assert "the service did not start: worker 1 ended (exit code 3)" in done.stderr


def test_a_full_queue_is_told(tmp_path: Path, deadline: Deadline) -> None:
    """When as many runs are queued as may be, submit says so, with exit code 2."""
    with PrivateRedis(tmp_path / "redis") as server:
        env = environment(tmp_path, REDIS_URL=server.url, MOONSAND_QUEUE_MAX="1")
        key = moonsand("keys", "create", env=env).stdout.strip()
        with subprocess.Popen(
            [*MOONSAND, "api", "--port", "0"], env=env, stderr=subprocess.PIPE, text=True
        ) as api:
            assert api.stderr is not None
            url = f"http://127.0.0.1:{json.loads(api.stderr.readline())['port']}"
            to = ["--url", url, "--key", key]
            deadline.until(lambda: moonsand("runs", *to, env=env).returncode == 0, "the API")
            assert moonsand("submit", "-e", "return 1", *to, env=env).returncode == 0
            full = moonsand("submit", "-e", "return 1", *to, env=env)
            api.terminate()
            api.stderr.read()
    assert (full.returncode, full.stdout) == (2, "")
    said = "the quota queued_runs of this tenant is used up: 1 of 1 runs"
    assert full.stderr.startswith(f"moonsand: {said}; 1 runs are queued or wait already")
