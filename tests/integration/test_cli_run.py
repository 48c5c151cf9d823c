"""`moonsand run` runs scripts in the real jail and tells exactly how they ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.stubs import Stubs, running_stubs
from runs.model import RunResult
from tests.command import MOONSAND, children, environment, is_running, moonsand
from tests.deadline import Deadline
from tests.worker_processes import cpu_ticks

pytestmark = pytest.mark.jail


def run_json(*arguments: str, expect: int, stdin: str = "") -> dict[str, Any]:
    """Run with --json, see the exit code, and give the one document on stdout."""
    done = moonsand("run", "--json", *arguments, stdin=stdin)
    assert done.returncode == expect, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert list(document) == list(RunResult.model_fields)
    return document


@pytest.fixture(scope="module")
def stubs() -> Iterator[Stubs]:
    """The loopback stand-ins of vendors."""
    with running_stubs() as running:
        yield running


@pytest.fixture
def accounts(stubs: Stubs, tmp_path: Path) -> str:
    """An accounts file for the stand-ins."""
    path = tmp_path / "accounts.toml"
    path.write_text(stubs.accounts_toml)
    return str(path)


def test_a_result_is_one_document() -> None:
    """A succeeded run gives its result, and exit code 0."""
    document = run_json("-e", "return 1+1", expect=0)
    assert (document["status"], document["reason"], document["result"]) == ("succeeded", "ok", 2)
    assert document["error"] is None
    assert document["id"].startswith("run_")
    assert document["usage"]["instructions"] > 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("while true do end", "instruction_limit"),
        ('while true do pcall(string.rep, "x", -1) end', "instruction_limit"),
        ('error("no")', "script_error"),
        ("return return", "syntax_error"),
        ("local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", "memory_limit"),
        ("while true do print(('x'):rep(1000)) end", "output_limit"),
    ],
)
def test_a_failed_script_is_one_document(code: str, reason: str) -> None:
    """Whatever way a script fails: exit code 1, one document, the reason of the closed list."""
    document = run_json("-e", code, expect=1)
    assert (document["status"], document["reason"]) == ("failed", reason)
    assert document["result"] is None
    assert document["error"]["message"]


def test_the_cpu_limit_is_kept() -> None:
    """One C call that burns processor time is ended in about the time given."""
    code = 'return ("a"):rep(40):find(("a-"):rep(40).."b")'
    document = run_json("-e", code, "--cpu-ms", "500", expect=1)
    assert document["reason"] == "cpu_limit"
    assert document["usage"]["cpu_ms"] <= 1000  # the kernel counts whole ticks, so less may do


def test_what_is_not_there_is_nil() -> None:
    """A script cannot reach the environment."""
    assert run_json("-e", "return os.getenv", expect=0)["result"] is None


@pytest.mark.parametrize(
    ("code", "given", "result"),
    [
        ("return input.a[2]", '{"a": [1, 9007199254740993]}', 9007199254740993),
        ("return input", '"\\u00e9"', "\u00e9"),
        ("return input, nil, 3", "[]", [[], None, 3]),
        ("return input", "null", None),
    ],
)
def test_input_and_result_are_json(code: str, given: str, result: object) -> None:
    """Values cross both ways unchanged; several results are a list."""
    assert run_json("-e", code, "--input", given, expect=0)["result"] == result


def test_input_comes_from_a_file_and_code_from_stdin(tmp_path: Path) -> None:
    """Both may come from where they are kept."""
    (tmp_path / "in.json").write_text('{"n": 20}')
    given = f"@{tmp_path / 'in.json'}"
    assert run_json("--input", given, expect=0, stdin="return input.n * 2")["result"] == 40


def test_the_seed_decides() -> None:
    """The same script, input and seed give the same result and count."""
    one, two = (
        run_json("-e", "return math.random(1, 1000000000)", "--seed", "7", expect=0)
        for _ in range(2)
    )
    assert one["result"] == two["result"]
    assert one["usage"]["instructions"] == two["usage"]["instructions"]


def test_people_see_output_result_and_error_apart() -> None:
    """Without --json, output and result are on stdout, what went wrong on stderr."""
    good = moonsand("run", "-e", 'print("one") return {two = 2}')
    assert (good.returncode, good.stdout) == (0, 'one\n{\n  "two": 2\n}\n')
    bad = moonsand("run", "-e", 'print("one")\nerror("two")')
    assert (bad.returncode, bad.stdout) == (1, "one\n")
    assert bad.stderr.splitlines()[0] == "script_error (line 2): two"
    assert bad.stderr.splitlines()[1].startswith("hint: ")


def test_no_control_character_reaches_a_terminal() -> None:
    """Neither what a script prints, returns nor raises can steer a terminal."""
    evil = r'"\27]0;owned\7\u{9b}31m\u{202e}"'
    for code in (f"print({evil})", f"return {evil}", f"error({evil})"):
        done = moonsand("run", "-e", code)
        shown = done.stdout + done.stderr
        assert "owned" in shown
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)


def test_output_comes_as_it_is_printed() -> None:
    """A line is there while the script still runs."""
    code = 'print("early") while true do end'
    options = ["--instructions", "2000000000", "--cpu-ms", "30000"]
    with subprocess.Popen(
        [*MOONSAND, "run", "-e", code, *options], stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"early\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_ctrl_c_ends_it_at_once(extra: list[str], deadline: Deadline) -> None:
    """Ctrl-C ends the child and everything else, with exit code 130 and no traceback."""
    code = 'print("early") while true do end'
    options = ["--instructions", "2000000000", "--cpu-ms", "30000", *extra]
    with subprocess.Popen(
        [*MOONSAND, "run", "-e", code, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as process:
        family = deadline.until(
            lambda: _family_with_a_busy_child(process.pid), "a busy child", seconds=25
        )
        os.killpg(process.pid, signal.SIGINT)
        said, complained = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in complained
    if extra:
        assert json.loads(said)["reason"] == "cancelled"
    deadline.until(lambda: not any(map(is_running, family)), "the end of all its processes")


def _family_with_a_busy_child(pid: int) -> list[int]:
    family = list(children(pid))
    return family if any(cpu_ticks(child) > 20 for child in family[1:]) else []


def test_calls_are_made_and_listed(accounts: str) -> None:
    """With an accounts file a script calls its vendor, and each call is in the document."""
    code = "return #app.integrations.mux.list_assets{limit = 2}.data"
    document = run_json("-e", code, "--accounts", accounts, expect=0)
    assert document["result"] == 2
    (call,) = document["calls"]
    assert call.pop("duration_ms") >= 0
    assert call == {
        "seq": 1,
        "name": "mux.list_assets",
        "account": "default",
        "effect_class": "read",
        "effect": "succeeded",
    }


def test_what_is_not_granted_is_refused(accounts: str, stubs: Stubs) -> None:
    """With --grant mux:read a script that creates is refused, and nothing is sent."""
    sent = len(stubs.mux_faults.seen)
    code = 'return app.integrations.mux.create_asset{input = "https://storage.example.com/v.mp4"}'
    document = run_json("-e", code, "--accounts", accounts, "--grant", "mux:read", expect=1)
    assert document["reason"] in {"denied", "script_error"}
    assert len(stubs.mux_faults.seen) == sent


def test_a_secret_is_nowhere_in_what_is_printed(accounts: str) -> None:
    """Neither a good nor a failing call shows credentials."""
    code = """
        dump(app.integrations.mux.list_assets{limit = 1})
        app.integrations.mux.get_asset{asset_id = "none"}
    """
    done = moonsand("run", "-e", code, "--accounts", accounts)
    assert done.returncode == 1
    assert "stub-mux-default-secret" not in done.stdout + done.stderr


def test_a_bad_accounts_file_is_a_usage_error(tmp_path: Path) -> None:
    """An accounts file that cannot be understood is refused before anything runs."""
    path = tmp_path / "accounts.toml"
    path.write_text("[mux.default]\ntoken_idd = 'x'\n")
    done = moonsand("run", "-e", "return 1", "--json", "--accounts", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "token_id" in done.stderr


def test_without_a_jail_nothing_runs_and_it_is_our_fault(tmp_path: Path) -> None:
    """A host that cannot jail gives exit code 3 and one document that says so."""
    # Without pyseccomp no filter can be compiled, which is a required step.
    (tmp_path / "pyseccomp.py").write_text("raise ImportError('not here')\n")
    env = environment(PYTHONPATH=str(tmp_path))
    done = moonsand("run", "-e", "return 1", "--json", env=env)
    assert done.returncode == 3, done.stdout
    document = json.loads(done.stdout)
    assert (document["status"], document["reason"]) == ("failed", "sandbox_unavailable")
    assert document["error"]["hint"] == "`moonsand doctor` says what is missing"
    report = moonsand("doctor", "--json", env=env)
    assert report.returncode == 1
    assert json.loads(report.stdout)["ok"] is False
