"""The audit of what a real service left: API, worker and sequencer in processes of their own."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from subprocess import run

import httpx2
import pytest

from core.redis_server import PrivateRedis
from ledger.sqlite_archive import NAME
from tests.api_server import ApiServer
from tests.archives import settle
from tests.command import environment, moonsand
from tests.deadline import Deadline
from tests.integration.test_sequencer_process import KEY, sequencer
from tests.worker_processes import running_worker

ROOT = Path(__file__).parents[2]
SCRIPTS = (
    "print('hello') return {sum = 1 + 1, name = input.name}",
    "error('on purpose')",
    "while true do end",
    "return app.integrations.mux.list_assets{}",
    "docs.list() return docs.search('asset')",
    "return",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """Runs of two tenants through a whole service that is gone; the directory, runs, a receipt."""
    base = tmp_path_factory.mktemp("served")
    (base / "redis").mkdir()
    with (
        PrivateRedis(base / "redis") as redis,
        sequencer(redis.url, base),
        running_worker(redis.url),
        ApiServer(redis.url, ledger_dir=base / "ledger") as api,
    ):
        runs: list[str] = []
        for tenant in ("acme", "beta"):
            with api.client(tenant) as client:
                runs += [_submit(client, script) for script in SCRIPTS]
        key = api.new_key("acme")
        env = environment(base, MOONSAND_URL=api.url, MOONSAND_API_KEY=key)
        given = ["receipt", runs[0], "--wait", "--verify", "--log-key", str(KEY.public)]
        receipt = moonsand(*given, env=env)
        assert receipt.returncode == 0, receipt.stderr
        Deadline().until(
            lambda: "12 runs" in moonsand(*_verify(base)).stdout, "all in the archive", seconds=30
        )
        assert "is not sequenced" in _pending(api, env)
    settle(base / "ledger")
    (base / "receipt.json").write_text(receipt.stdout)
    return base, runs, receipt.stdout


def _submit(client: httpx2.Client, script: str) -> str:
    body = {"script": script, "input": {"name": "Ada"}, "limits": {"instructions": 100_000}}
    answer = client.post("/v1/runs", json={**body, "wait_s": 20})
    assert answer.status_code in {200, 201, 202}, answer.text
    return str(answer.json()["id"])


def _pending(api: ApiServer, env: dict[str, str]) -> str:
    with api.client("acme") as client:
        limits = {"instructions": 2_000_000_000, "cpu_ms": 60_000}
        body = {"script": "while true do end", "limits": limits}
        waiting = client.post("/v1/runs", json=body).json()["id"]
    done = moonsand("receipt", waiting, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def _verify(base: Path, *more: str) -> list[str]:
    return ["audit", "verify", str(base / "ledger"), "--log-key", str(KEY.public), *more]


def test_a_real_archive_holds(served: tuple[Path, list[str], str]) -> None:
    """Both verifiers find every run of a real service, and nothing wrong, with its own parts."""
    base, runs, _ = served
    done = moonsand(*_verify(base, "--json"))
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["findings"]) == (0, True, [])
    assert told["tapes"]["runs"] >= len(runs)
    command = [sys.executable, str(ROOT / "tools/moonsand_verify.py"), "--key", str(KEY.public)]
    for path in (base / "ledger", base / "receipt.json"):
        alone = run([*command, str(path)], capture_output=True, text=True, cwd="/", check=False)
        assert (alone.returncode, alone.stdout.splitlines()[-1]) == (0, "verified"), alone.stdout


def test_one_edited_byte_is_found_and_its_entry_named(
    served: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    """Exit code 1, and a line with number, kind and run of the entry whose byte was edited."""
    base, runs, _ = served
    (tmp_path / "ledger").mkdir()
    data = (base / "ledger" / NAME).read_bytes()
    with closing(sqlite3.connect(base / "ledger" / NAME)) as db:
        index, leaf = db.execute(
            "SELECT idx, data FROM leaves WHERE subject = ? AND kind = 'run.finished'", (runs[1],)
        ).fetchone()
    assert data.count(leaf) == 1
    at = data.index(leaf) + leaf.index(b"script_error")
    (tmp_path / "ledger" / NAME).write_bytes(data[:at] + b"S" + data[at + 1 :])
    done = moonsand(*_verify(tmp_path))
    assert done.returncode == 1
    assert f"entry {index} (run.finished {runs[1]}): its bytes are not those" in done.stdout
    assert "NOT verified" in done.stdout


def alone(path: Path) -> tuple[int, str]:
    """Let the one file verify something, in a directory where nothing of ours is found."""
    command = [sys.executable, str(ROOT / "tools/moonsand_verify.py"), "--key", str(KEY.public)]
    done = run([*command, str(path)], capture_output=True, text=True, cwd="/", check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_one_file_verifies_bundles(served: tuple[Path, list[str], str], tmp_path: Path) -> None:
    """A bundle of a real run holds; with any part changed, left out or swapped it does not."""
    base, runs, _ = served
    file, other = tmp_path / "bundle", tmp_path / "other"
    for path, run_id in ((file, runs[0]), (other, runs[4])):
        given = ["runs", "export", run_id, "--archive", str(base / "ledger"), "--out", str(path)]
        done = moonsand(*given, env=environment(tmp_path))
        assert done.returncode == 0, done.stderr
        assert alone(path) == (0, "verified\n")
    lines, strange = file.read_text().splitlines(), other.read_text().splitlines()
    parts = [json.loads(line)["part"] for line in lines]
    assert {"script", "input", "result", "output", "entry"} <= set(parts)
    for number, part in enumerate(parts):
        changed = [json.loads(line) for line in lines]
        name = {"bundle": "run", "entry": "body", "end": "entries"}.get(part, "text")
        changed[number][name] = f"{changed[number][name]} "
        file.write_text("".join(f"{json.dumps(row)}\n" for row in changed))
        assert alone(file)[0] == 1, part
        if part == "entry":
            left = lines[:number] + lines[number + 1 :]
            file.write_text("\n".join(left))
            assert alone(file)[0] == 1
    file.write_text("\n".join([strange[0], *lines[1:]]))
    assert alone(file)[0] == 1
    for rubbish in (
        "",
        "{}",
        "[]",
        '{"part":"bundle"}',
        '{"part":"bundle","receipt":{}}\n{}',
        "\xff",
    ):
        file.write_text(rubbish)
        assert alone(file)[0] in {1, 2}


def test_a_changed_receipt_is_refused(served: tuple[Path, list[str], str], tmp_path: Path) -> None:
    """From a file, without a service: good as it was, and refused with any word changed."""
    base, runs, text = served
    file = tmp_path / "receipt.json"
    for change, code in (("", 0), ("ok", 1), (runs[0], 1)):
        file.write_text(text.replace(change, change[::-1]) if change else text)
        done = moonsand("receipt", str(file), "--verify", "--log-key", str(KEY.public))
        assert (done.returncode, bool(done.stdout)) == (code, not code), done.stderr
    assert moonsand("receipt", str(base / "ledger" / NAME)).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["/nowhere", "--log-key", str(KEY.public)], 2, "there is no archive"),
        (["/etc/hostname", "--log-key", str(KEY.public)], 1, "is no archive"),
        (["/nowhere"], 2, "public key is not known here"),
        (["/nowhere", "--log-key", "a+b+c"], 2, "verifier key"),
        (["/nowhere", "--log-key", str(KEY.public), "--from", "/etc/hostname"], 2, "checkpoint"),
    ],
)
def test_what_cannot_be_verified_is_told(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """No archive, no key, no checkpoint: 2; a file that is no archive does not hold: 1."""
    done = moonsand("audit", "verify", *arguments, env=environment(tmp_path))
    assert done.returncode == code
    assert words in done.stdout + done.stderr
