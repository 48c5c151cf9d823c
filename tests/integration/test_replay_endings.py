"""However a run ended, its replay ends alike, or says that this does not come again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.plans import Mode
from runs.model import RunRequest
from sandbox.outcome import Reason
from tests.command import environment, moonsand
from tests.recorded_runs import Exported, Recorder

SMALL = {"instructions": 200_000}
ENDINGS: dict[str, tuple[Reason, RunRequest]] = {
    "ok": (Reason.OK, RunRequest(script="print('a'); return { 1, 2.5, { x = 'y' } }")),
    "nothing": (Reason.OK, RunRequest(script="local x = 1")),
    "slept": (
        Reason.OK,
        RunRequest(
            script="""
            print(app.integrations.till.price{ tag = "a" }.value, os.date())
            sleep(1)
            print(os.date(), os.clock())
            return app.integrations.till.price{ tag = "b" }.tag
            """
        ),
    ),
    "planned": (
        Reason.OK,
        RunRequest(script="return app.integrations.till.pay{ tag = 'a' }", mode=Mode.PLAN),
    ),
    "error": (Reason.SCRIPT_ERROR, RunRequest(script="print('a')\nlocal x = nil\nreturn x.y")),
    "uncaught": (
        Reason.SCRIPT_ERROR,
        RunRequest(script="print(1)\nreturn app.integrations.till.price{ wrong = 1 }"),
    ),
    "object": (Reason.SCRIPT_ERROR, RunRequest(script="error({ a = {}, b = print, 3 })")),
    "addresses": (
        Reason.SCRIPT_ERROR,
        RunRequest(script="error(tostring({}) .. tostring(print) .. os.date() .. os.clock())"),
    ),
    "syntax": (Reason.SYNTAX_ERROR, RunRequest(script="return return")),
    "denied": (
        Reason.DENIED,
        RunRequest(
            script="app.integrations.till.price{ tag = 'a' }\nreturn app.integrations.till.pay{}",
            grants=["till:read", {"pattern": "till.pay", "accounts": ["other"]}],
        ),
    ),
    "instructions": (
        Reason.INSTRUCTION_LIMIT,
        RunRequest(
            script="app.integrations.till.price{ tag = 'a' } print('x') while true do end",
            limits=SMALL,
        ),
    ),
    "instructions in flight": (
        Reason.INSTRUCTION_LIMIT,
        RunRequest(
            script="""
            parallel.map({ 1, 2, 3, 4 }, function(n)
              print(n, app.integrations.till.price{ tag = "s" .. n }.value)
              if n == 2 then while true do end end
              app.integrations.till.pay_once{ tag = "s" .. n }
            end)
            """,
            limits=SMALL,
        ),
    ),
    "memory": (
        Reason.MEMORY_LIMIT,
        RunRequest(
            script="local t = {} for n = 1, 1e7 do t[n] = ('x'):rep(1000) .. n end",
            limits={"memory_bytes": 4 << 20},
        ),
    ),
    "output": (
        Reason.OUTPUT_LIMIT,
        RunRequest(script="while true do print('0123456789') end", limits={"output_bytes": 1_000}),
    ),
    "calls": (
        Reason.CALL_LIMIT,
        RunRequest(
            script="for n = 1, 9 do print(app.integrations.till.price{ tag = 'a' }.value) end",
            limits={"calls": 3},
        ),
    ),
    "result": (
        Reason.RESULT_LIMIT,
        RunRequest(script="return ('x'):rep(5000)", limits={"result_bytes": 1_000}),
    ),
    "invalid": (Reason.INVALID_RESULT, RunRequest(script="return { f = print }")),
    "wall": (
        Reason.WALL_LIMIT,
        RunRequest(
            script="""
            print('a', app.integrations.till.price{ tag = 'a' }.value)
            while true do end
            """,
            limits={"wall_ms": 300, "instructions": 300_000_000, "cpu_ms": 60_000},
        ),
    ),
    "cpu": (
        Reason.CPU_LIMIT,
        RunRequest(
            script="print('b') app.integrations.till.pay{ tag = 'a' } while true do end",
            limits={"cpu_ms": 100, "instructions": 2_000_000_000},
        ),
    ),
}
NOT_AGAIN = {"wall", "cpu"}


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Runs that ended in every way, exported; what they spoke to is gone."""
    requests = [request for _, request in ENDINGS.values()]
    found = Recorder(tmp_path_factory.mktemp("endings")).record(*requests)
    return dict(zip(ENDINGS, found, strict=True))


@pytest.mark.parametrize("name", ENDINGS)
def test_a_run_replays_to_its_end(endings: dict[str, Exported], name: str, tmp_path: Path) -> None:
    """Reason, error, output, result, calls and instructions are those of the run."""
    run = endings[name]
    assert run.record.reason is ENDINGS[name][0], run.record.error

    done = moonsand("replay", "--json", str(run.bundle), env=environment(tmp_path))

    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["difference"], done.returncode) == (None, 0)
    assert found["ending_compared"] is (name not in NOT_AGAIN)
    if name in NOT_AGAIN:
        assert "that does not come again" in found["notes"][0 if len(found["notes"]) == 1 else 1]
    else:
        assert found["replayed"]["reason"] == run.record.reason
        assert found["replayed"]["instructions"] == run.record.usage.instructions
