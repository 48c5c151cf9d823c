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


def changed(home: Path, fifty: Exported, old: str, new: str) -> tuple[dict[str, Any], str]:
    """Replay with a changed script; give the document and what a person is shown."""
    assert old in FIFTY
    script = home / "new.lua"
    script.write_text(FIFTY.replace(old, new, 1))
    options = ["--script", str(script), str(fifty.bundle)]
    return document(home, *options), replay(home, *options).stdout


def test_a_script_that_makes_the_same_calls_is_the_same(fifty: Exported, tmp_path: Path) -> None:
    """Other instructions are no difference; another output or result is."""
    found, said = changed(tmp_path, fifty, "local sum = 0", "local sum = 0 + 0 * 7")
    assert (found["equal"], found["would_send"]) == (True, None)
    assert said == "same: 50 calls, output and result are as recorded\n"

    found, said = changed(tmp_path, fifty, 'print("price", n', 'print("prize", n')
    assert found["difference"]["at"] == "output"
    assert found["difference"]["byte"] == 3
    assert said.startswith("differs in output at byte 3\n")

    found, _ = changed(tmp_path, fifty, "page = #page", "page = #page + 1")
    assert found["difference"]["at"] == "result"


@pytest.mark.parametrize(
    ("old", "new", "kind", "call", "would_send"),
    [
        (
            'sum = sum + till.price({ tag = ("x"):rep(n) })',
            'sum = sum + till.price({ tag = n == 7 and "z" or ("x"):rep(n) })',
            *("arguments", 7, {"name": "till.price", "arguments": [{"tag": "z"}]}),
        ),
        (
            "local page = docs.read",
            'till.pay({ tag = "more" }) local page = docs.read',
            *("function", 50, {"name": "till.pay", "arguments": [{"tag": "more"}]}),
        ),
        (
            "return { sum = sum",
            'till.pay({ tag = "more" }) return { sum = sum',
            *("extra", 51, {"name": "till.pay", "arguments": [{"tag": "more"}]}),
        ),
        ('local page = docs.read("till")', "local page = ''", *("missing", 50, None)),
        (
            'till.pay({ tag = "w" .. n })',
            'app.integrations.till.default.pay({ tag = "w" .. n })',
            *("account", 46, {"name": "till.pay", "arguments": [{"tag": "w1"}]}),
        ),
    ],
    ids=["arguments", "function", "extra", "missing", "account"],
)  # fmt: skip
def test_a_changed_script_is_told_its_first_different_call(  # noqa: PLR0917
    fifty: Exported,
    tmp_path: Path,
    old: str,
    new: str,
    kind: str,
    call: int,
    would_send: dict[str, Any] | None,
) -> None:
    """Its number, what it was, what it is, and what would be sent: the vendor is long gone."""
    found, said = changed(tmp_path, fifty, old, new)

    difference = found["difference"]
    assert (difference["at"], difference["kind"], difference["call"]) == ("call", kind, call)
    sent = found["would_send"]
    assert (sent and {name: sent[name] for name in ("name", "arguments")}) == would_send
    assert said.startswith(f"differs at call {call}: ")
    if kind == "arguments":
        assert difference["was"]["arguments"] == [{"tag": "x" * 7}]
        assert difference["changes"] == [{"pointer": "/0/tag", "was": "x" * 7, "now": "z"}]
        assert '/0/tag: "xxxxxxx" -> "z"' in said
    if kind != "missing":
        assert "would be sent: till.pay" in said or "would be sent: till.price" in said


def test_what_cannot_be_replayed_is_refused(fifty: Exported, tmp_path: Path) -> None:
    """No script, one that is too long, no archive, no key: said in a line, with exit code 2."""
    script = tmp_path / "new.lua"
    bundle = str(fifty.bundle)
    for text, said in (("", "the script is empty"), ("x" * 300_000, "at most 262144")):
        script.write_text(text)
        done = replay(tmp_path, "--script", str(script), bundle)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
    for arguments, said in (
        (["--archive", str(tmp_path), fifty.record.id], "there is no archive"),
        (["--log-key", "x", bundle], "a verifier key is"),
        (["--script", str(tmp_path / "none.lua"), bundle], "cannot be read"),
    ):
        done = replay(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
