"""Batches end to end, from a file of jobs to its results, with each process killed on the way."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from core import keys
from core.redis_client import connect
from runs.batches.items import unpack_chunk
from runs.redis_scripts import load
from tests import warm
from tests.api_server import ApiServer
from tests.command import MOONSAND, environment, moonsand
from tests.deadline import Deadline
from tests.flaky_redis import Fault, FlakyRedis
from tests.scheduler_process import running_scheduler
from tests.worker_processes import running_worker

pytestmark = [pytest.mark.jail, pytest.mark.timeout(180)]

SCRIPT = ["-e", "return input * 2"]


@dataclass
class Site:
    """An API on a Redis, and the environment in which commands find it."""

    redis_url: str
    env: dict[str, str]
    home: Path

    def jobs(self, count: int) -> Path:
        """Write a file of jobs whose inputs count from 0."""
        path = self.home / "jobs.ndjson"
        path.write_text("".join(f'{{"id":"i{n}","input":{n}}}\n' for n in range(count)))
        return path

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run `moonsand batch run` beside the test; kill it at the end if it still lives."""
        command = [*MOONSAND, "batch", "run", *arguments]
        with subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `moonsand batch` to its end."""
        return moonsand("batch", *arguments, env=self.env, seconds=100)

    def progress(self, field: str) -> int:
        """Give a number of the one batch's record; 0 as long as there is none."""
        with connect(self.redis_url) as client:
            ids: Any = client.zrange(keys.tenant_batches("acme"), 0, -1)
            found: Any = client.hget(keys.batch(ids[0].decode()), field) if ids else None
        return int(found or 0)


@pytest.fixture
def site(redis_url: str, tmp_path: Path) -> Iterator[Site]:
    """An API and a key of tenant acme."""
    with ApiServer(redis_url) as server:
        env = environment(
            tmp_path, MOONSAND_URL=server.url, MOONSAND_API_KEY=server.new_key("acme")
        )
        yield Site(redis_url, env, tmp_path)


def check_results(path: Path, count: int, redis_url: str) -> None:
    """Each item has one result, the right one, in its place; each run has ended once."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["index"], row["id"]) for row in rows] == [(n, f"i{n}") for n in range(count)]
    assert [row["result"] for row in rows] == [2 * n for n in range(count)]
    assert {row["reason"] for row in rows} == {"ok"}
    assert len({row["run"] for row in rows}) == count
    with connect(redis_url) as client:
        assert client.zcard(keys.tenant_runs("acme")) == count
        for row in rows:
            tape: Any = client.xrange(keys.tape(row["run"]))
            kinds = [fields[b"kind"] for _, fields in tape]
            assert kinds.count(b"accepted") == kinds.count(b"finished") == 1, kinds


def test_a_worker_killed_in_the_middle_costs_no_result(site: Site, deadline: Deadline) -> None:
    """Of two workers one is killed: every item has one result, and none was done twice."""
    out = site.home / "results.ndjson"
    with (
        running_scheduler(site.redis_url),
        running_worker(site.redis_url) as doomed,
        running_worker(site.redis_url),
        site.running(str(site.jobs(1_000)), *SCRIPT, "-j", "64", "--out", str(out)) as command,
    ):
        deadline.until(lambda: site.progress("ended") >= 300, "300 ends", seconds=60)
        doomed.kill()
        stdout, stderr = command.communicate(timeout=100)

    assert command.returncode == 0, stderr
    check_results(out, 1_000, site.redis_url)
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert (lines[0]["status"], lines[-1]["status"]) == ("uploading", "completed")
    assert lines[-1]["reasons"] == {"ok": 1_000}


def test_schedulers_may_be_killed_and_be_two_at_once(site: Site, deadline: Deadline) -> None:
    """Whoever feeds, and however it dies: no item is fed twice and none is left out."""
    out = site.home / "results.ndjson"
    with (
        running_worker(site.redis_url, slots=8),
        running_scheduler(site.redis_url) as first,
        running_scheduler(site.redis_url) as second,
        site.running(str(site.jobs(600)), *SCRIPT, "-j", "20", "--out", str(out)) as command,
    ):
        for process, ended in ((first, 60), (second, 200)):
            deadline.until(lambda most=ended: site.progress("ended") >= most, "ends", seconds=60)  # type: ignore[misc]
            process.kill()
        with running_scheduler(site.redis_url):
            _, stderr = command.communicate(timeout=100)

    assert command.returncode == 0, stderr
    check_results(out, 600, site.redis_url)


def test_a_killed_command_goes_on_with_the_same_batch(site: Site, deadline: Deadline) -> None:
    """Killed while it follows: the same command finds its batch; after its end it makes another."""
    jobs, out = str(site.jobs(40)), site.home / "results.ndjson"
    with site.running(jobs, *SCRIPT, "--out", str(out)) as command:
        deadline.until(lambda: site.progress("total") == 40, "the upload")
        command.kill()

    with running_worker(site.redis_url), running_scheduler(site.redis_url):
        again = site.command("run", jobs, *SCRIPT, "--out", str(out))
        assert again.returncode == 0, again.stderr
        assert "going on with bat_" in again.stderr
        check_results(out, 40, site.redis_url)
        other = site.command("run", jobs, *SCRIPT, "--out", str(out))

    assert (other.returncode, other.stderr) == (0, "")
    listed = site.command("list", "--json").stdout.splitlines()
    assert [json.loads(line)["status"] for line in listed] == ["completed"] * 2


def test_a_file_with_something_wrong_leaves_nothing(site: Site) -> None:
    """The line is named, the batch is gone, and the file put right is a batch of its own."""
    jobs = site.home / "jobs.ndjson"
    jobs.write_text('{"input":1}\n{"imput":2}\n')

    wrong = site.command("run", str(jobs), *SCRIPT)
    nowhere = site.command("run", str(jobs), *SCRIPT, "--out", str(site.home / "no" / "out"))

    assert wrong.returncode == nowhere.returncode == 2
    assert "line 2: there is no such name" in wrong.stderr
    assert "there is no such directory" in nowhere.stderr
    (row,) = site.command("list", "--json").stdout.splitlines()
    assert json.loads(row)["status"] == "cancelled"
    assert list((site.home / "moonsand" / "batches").iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('{"imput":1}', "line 2503: there is no such name"),
        ('{"input":', "line 2503: unexpected end of data"),
        ('{"id":"a"}', "item 0 has this id already, so item 2500 cannot have it"),
    ],
)
def test_what_is_wrong_far_down_a_file_is_told_with_its_line(
    site: Site, wrong: str, told: str
) -> None:
    """The line of the file, which is sent in pieces, without its terms and its empty lines."""
    jobs = site.home / "jobs.ndjson"
    lines = ['{"batch":{"concurrency":4}}', "", '{"id":"a"}', *['{"input":1}'] * 2_499, wrong]
    jobs.write_text("\n".join(lines))

    command = site.command("run", str(jobs), *SCRIPT)

    assert command.returncode == 2
    assert told in command.stderr


def test_ctrl_c_says_how_to_go_on(site: Site) -> None:
    """The batch goes on in the service; what to do is said, and both ways work."""
    jobs = str(site.jobs(5))
    with site.running(jobs, *SCRIPT) as command:
        assert command.stdout is not None
        # Redis knows that all is uploaded before the command does.
        next(line for line in command.stdout if json.loads(line)["status"] == "running")
        command.send_signal(signal.SIGINT)
        _, stderr = command.communicate(timeout=20)

    assert command.returncode == 130
    assert "goes on; the same command follows it, `moonsand batch cancel bat_" in stderr
    batch = stderr.split()[0]
    assert site.command("cancel", batch).stdout == f"{batch} cancelled\n"
    with running_scheduler(site.redis_url):
        ended = site.command("run", jobs, *SCRIPT)
    assert ended.returncode == 1
    assert json.loads(ended.stdout.splitlines()[-1])["skipped"] == 5


def test_an_api_killed_in_the_middle_of_an_upload_costs_no_item(
    redis_url: str, tmp_path: Path, deadline: Deadline
) -> None:
    """The command waits for the API to come back, and sends what it does not have."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        ApiServer(redis_url) as other,
        FlakyRedis(redis_url.removeprefix("unix://")) as wire,
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        env = environment(tmp_path, MOONSAND_URL=url, MOONSAND_API_KEY=other.new_key("acme"))
        site = Site(redis_url, env, tmp_path)
        # In appends of 200 items: the API dies with one of them in its hands.
        wire.arm(Fault.HOLD_BEFORE, load("batch_append").sha1, nth=30)
        with serving(wire.url, listener) as api, site.running(str(site.jobs(20_000)), *SCRIPT):
            assert wire.struck.wait(30)
            api.kill()
            api.wait()
            assert 2_000 <= site.progress("received") < 20_000
            with serving(redis_url, listener):
                deadline.until(lambda: site.progress("total") == 20_000, "the rest", seconds=60)

    with connect(redis_url) as client:
        batches: Any = client.zrange(keys.tenant_batches("acme"), 0, -1)
        assert [count_items(client, one.decode()) for one in batches] == [20_000]


@contextmanager
def serving(redis_url: str, listener: socket.socket) -> Iterator[warm.WarmProcess]:
    """Run an API in a process of its own; kill it at the end if it still lives."""
    env = environment(REDIS_URL=redis_url, MOONSAND_LOG_LEVEL="warning")
    fd = listener.fileno()
    process = warm.start("moonsand", "api", "--fd", str(fd), env=env, pass_fds=[fd])
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def count_items(client: redis.Redis, batch_id: str) -> int:
    """Count the items of a batch that follow one another without a gap."""
    end = 0
    rows: Any = client.xrange(keys.batch_items(batch_id))
    for entry, fields in rows:
        chunk = unpack_chunk(int(entry.partition(b"-")[0]) - 1, fields[b"items"])
        assert chunk.first == end
        end = chunk.end
    return end
