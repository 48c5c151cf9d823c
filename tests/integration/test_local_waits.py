"""A run on this machine that waits: let go, executed again over its tape, asked at a terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.calls import CallRecord, Effect
from core.clock import now_ms
from integrations.stubs import Stubs
from integrations.waits import Answer, Decision, Wait
from ledger.recording import Recording
from ledger.tape import Kind, MemoryTape
from runs.model import RunRequest, RunResult
from sandbox.outcome import Reason
from sandbox.supervisor import Sandbox
from tenancy.grants import Grants, GrantSet, Whose
from tests.mux_runs import stub_accounts, whole_catalog
from worker.local import run_local
from worker.local_waits import Ask

pytestmark = pytest.mark.jail
CREATE = """
print("before")
local inputs = { { url = "https://example.com/a.mp4" } }
local asset = app.integrations.mux.create_asset{ inputs = inputs }
print("after")
return asset.data.id ~= nil
"""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The real jail."""
    async with Sandbox(1) as box:
        yield box


class Seen:
    """A watcher that keeps what it was told."""

    def __init__(self) -> None:
        self.text = ""
        self.calls: list[int] = []

    def output(self, text: str) -> None:
        """Take printed text."""
        self.text += text

    def call(self, record: CallRecord) -> None:
        """Take a call."""
        self.calls.append(record.seq)


class Person:
    """Answers questions, all the same way, and remembers them."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.asked: list[Wait] = []

    async def __call__(self, wait: Wait) -> Answer:
        """Answer one."""
        self.asked.append(wait)
        return Answer(self.decision, "terminal", now_ms(), "because")


class Bench:
    """Runs scripts here, with the stub's accounts."""

    def __init__(self, sandbox: Sandbox, stubs: Stubs) -> None:
        self.sandbox = sandbox
        self.stubs = stubs
        self.tape = MemoryTape(now_ms)
        self.seen = Seen()

    async def run(self, script: str, ask: Ask | None = None, *rules: str, **more: Any) -> RunResult:
        """Run one to its end."""
        sets = ((Whose.TENANT, GrantSet.parse(rules)),) if rules else ()
        return await run_local(
            RunRequest(script=script),
            sandbox=self.sandbox,
            catalog=whole_catalog(),
            accounts=stub_accounts(self.stubs),
            grants=Grants(sets),
            watch=self.seen,
            tape=self.tape,
            ask=ask,
            **more,
        )

    @property
    def kinds(self) -> list[str]:
        """What is on the tape."""
        return [entry.kind.value for entry in self.tape.entries]


@pytest.fixture
def bench(sandbox: Sandbox, stubs: Stubs) -> Bench:
    """All that a local run needs."""
    return Bench(sandbox, stubs)


async def test_a_sleep_is_slept_once_and_shown_once(bench: Bench) -> None:
    """The script runs twice, its output, calls and instructions are those of one execution."""
    script = 'print("a") local t = os.time() sleep(3) print("b") return os.time() - t'
    began_s = time.monotonic()
    result = await bench.run(script)
    took_ms = (time.monotonic() - began_s) * 1000
    plain = await Bench(bench.sandbox, bench.stubs).run(script.replace("sleep(3)", "sleep(0)"))

    assert (result.reason, result.output, bench.seen.text) == (Reason.OK, "a\nb\n", "a\nb\n")
    assert 3 <= result.result < 6  # slept twice it would be six
    assert bench.kinds == ["accepted", "started", "waiting", "started", "effect", "finished"]
    assert [one.name for one in result.calls] == ["run.sleep"]
    assert bench.seen.calls == [1]
    assert abs(result.usage.instructions - plain.usage.instructions) <= 1
    assert result.usage.wall_ms < took_ms - 900  # waiting does not count


async def test_a_call_that_asks_is_made_once_after_a_yes(bench: Bench) -> None:
    """Asked with function and arguments; one intent, after the answer; what was printed, once."""
    person = Person(Decision.APPROVE)
    result = await bench.run(CREATE, person, "ask:mux.create_asset")

    assert (result.reason, result.result) == (Reason.OK, True)
    assert bench.seen.text == "before\nafter\n"
    assert bench.kinds[2:-1] == ["waiting", "started", "answered", "intent", "effect"]
    [asked] = person.asked
    assert asked.question is not None
    assert (asked.question.function, asked.question.account) == ("mux.create_asset", "default")
    assert "https://example.com/a.mp4" in str(asked.question.preview)
    assert len(bench.stubs["mux"].faults.seen) == 1


async def test_a_no_is_an_error_and_nothing_is_sent(bench: Bench) -> None:
    """The run ends as `denied` with the comment; the vendor hears nothing."""
    result = await bench.run(CREATE, Person(Decision.DENY), "ask:mux.create_asset")

    assert result.reason is Reason.DENIED
    assert result.error is not None
    assert "denied by terminal: because" in result.error.message
    assert [one.effect for one in result.calls] == [Effect.DENIED]
    assert not bench.stubs["mux"].faults.seen


async def test_without_a_person_nothing_waits(bench: Bench) -> None:
    """Both kinds of question are refused at once, as errors of the script."""
    asked = await bench.run("return pcall(approval.request, { title = 'x' })")
    call = await Bench(bench.sandbox, bench.stubs).run(CREATE, None, "ask:mux.create_asset")

    assert asked.result[0] is False
    assert asked.result[1]["code"] == "approval_required"
    assert call.reason is Reason.SCRIPT_ERROR
    assert not bench.stubs["mux"].faults.seen


async def test_nobody_in_time_is_an_error(bench: Bench) -> None:
    """A timeout of the script's is `expired`, which it may catch."""

    async def never(_wait: Wait) -> Answer:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    result = await bench.run(
        "local ok, e = pcall(approval.request, { title = 'x', timeout = 1 }) return e.code", never
    )

    assert result.result == "expired"


async def test_a_waiting_run_can_be_cancelled(bench: Bench) -> None:
    """It ends at once, with what it did so far."""
    cancel = asyncio.Event()

    async def cancelling(_wait: Wait) -> Answer:
        cancel.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    script = "print('a') docs.list() approval.request{ title = 'x' }"
    result = await bench.run(script, cancelling, cancel=cancel)

    assert (result.reason, result.output) == (Reason.CANCELLED, "a\n")
    assert [one.name for one in result.calls] == ["docs.list"]


async def test_tasks_wait_together_and_questions_come_in_turn(bench: Bench) -> None:
    """Beside waits other tasks come to their end; the tape replays to the same result."""
    person = Person(Decision.APPROVE)
    result = await bench.run(
        """
        return parallel.all({
          function() sleep(1) return "slept" end,
          function() return approval.request{ title = "one" }.by end,
          function() return #docs.list() > 0 end,
          function() return approval.request{ title = "two" }.by end,
        })
        """,
        person,
    )

    assert result.result == ["slept", "terminal", True, "terminal"]
    assert sorted(str(one.question and one.question.title) for one in person.asked) == [
        "one",
        "two",
    ]
    recording = Recording.of(bench.tape.entries)
    assert all(call.reply is not None for call in recording.calls.values())
    assert [one.kind for one in bench.tape.entries].count(Kind.ANSWERED) == 2
