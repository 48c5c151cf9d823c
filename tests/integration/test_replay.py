"""A recorded run, executed again with nothing left of what it spoke to, is the same run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runs.model import RunRequest
from sandbox.outcome import Reason
from tests.command import environment, moonsand
from tests.recorded_runs import FIFTY, Exported, Recorder
from tests.sequencing import KEY


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A run of 50 calls; service, vendor and Redis are gone."""
    request = RunRequest(script=FIFTY, input={"a": [1, "two", None]}, seed=7)
    return Recorder(tmp_path_factory.mktemp("fifty")).record(request)[0]


def replay(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `moonsand replay` as somebody whose state is in `home`."""
    return moonsand("replay", *arguments, env=environment(home))


def document(home: Path, *arguments: str) -> dict[str, Any]:
    """Give what `moonsand replay --json` says."""
    done = replay(home, "--json", *arguments)
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["equal"] is (done.returncode == 0)
    return found


def test_a_run_of_fifty_calls_replays_equal_with_everything_gone(
    fifty: Exported, tmp_path: Path
) -> None:
    """Result, output, calls, instructions, byte for byte; the receipt holds against its key."""
    assert fifty.record.reason is Reason.OK, fifty.record.error
    assert fifty.record.usage.calls == 50

    found = document(tmp_path, "--log-key", str(KEY.public), str(fifty.bundle))

    assert found["difference"] is None
    assert found["recorded"] == {**found["replayed"], "calls": 50}
    assert found["replayed"]["instructions"] == fifty.record.usage.instructions
    assert found["notes"] == []
    assert found["proof"] == {
        "log": KEY.public.name, "signature_checked": True, "unbound_entries": []
    }  # fmt: skip
    said = replay(tmp_path, str(fifty.bundle))
    assert said.stdout.startswith("equal: 50 calls, ")
    assert "nobody checked the signature" in said.stderr


def test_a_run_replays_by_its_id_from_the_archive_and_from_an_import(
    fifty: Exported, tmp_path: Path
) -> None:
    """No service is asked: the archive is enough, and so is a bundle that was imported."""
    run = fifty.record.id
    archived = document(tmp_path, "--archive", str(fifty.archive), run)
    assert (archived["equal"], archived["source"]) == (True, "archive")
    missing = replay(tmp_path, run)
    assert missing.returncode == 2
    assert "no API key" in missing.stderr

    done = moonsand("runs", "import", str(fifty.bundle), env=environment(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{run}\n")
    assert document(tmp_path, run)["source"] == "bundle"

    out = tmp_path / "again.jsonl"
    options = ["--archive", str(fifty.archive), "--out", str(out)]
    done = moonsand("runs", "export", run, *options, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == fifty.bundle.read_bytes()
