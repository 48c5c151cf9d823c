"""The supervisor against hostile children: right reason, no hang, no leak, next run clean."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.calls import Call, EndRun, Reply, StartRequest
from sandbox.limits import KIB, Limits
from sandbox.outcome import Outcome, Reason
from sandbox.supervisor import Sandbox
from tests.command import is_running
from tests.deadline import Deadline
from tests.security.evil_children.evils import EVILS
from tests.security.leases import leased

pytestmark = pytest.mark.jail

VIOLATION, CRASHED = Reason.PROTOCOL_VIOLATION, Reason.CRASHED
EXPECTED: dict[str, Reason] = {
    "honest": Reason.OK,
    "many_calls_and_prints_at_once": Reason.OK,
    "limit_while_a_reply_is_awaited": Reason.INSTRUCTION_LIMIT,
    "exits_while_replies_are_awaited": CRASHED,
    "calls_and_never_reads_a_reply": Reason.CPU_LIMIT,
    "calls_for_pages_and_never_reads_one": Reason.CPU_LIMIT,
    "sends_one_byte_at_a_time": Reason.OK,
    "claims_absurd_usage": Reason.OK,
    "exits_without_a_word": CRASHED,
    "exits_with_a_code_after_its_result": CRASHED,
    "half_a_header": CRASHED,
    "half_a_frame": CRASHED,
    "half_a_frame_then_silence": Reason.WALL_LIMIT,
    "never_answers": Reason.WALL_LIMIT,
    "segfaults": CRASHED,
    "reads_address_zero": CRASHED,
    "segfaults_after_its_result": CRASHED,
    "burns_cpu": Reason.CPU_LIMIT,
    "floods_tiny_prints": Reason.OUTPUT_LIMIT,
    "floods_big_prints": Reason.OUTPUT_LIMIT,
    "calls_for_ever": Reason.CALL_LIMIT,
    "failure_with_terminal_escapes": Reason.SCRIPT_ERROR,
}
# Wall time is short only where it is what must end the child: a busy host gives little processor
# time in a second.
LIMITS = Limits(wall_ms=20_000, cpu_ms=600, calls=100, output_bytes=64 * KIB)
HANGING = replace(LIMITS, wall_ms=1_000)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The real supervisor and zygote, with hostile children."""
    async with Sandbox(2, zygote_module="tests.security.evil_children.zygote") as box:
        yield box


async def answer(call: Call) -> Reply | EndRun:
    """Answer null; `demo.large` more than a socket holds, `demo.page` a part of it."""
    size = {"large": 1_000_000, "page": 20_000}.get(call.function)
    body = b'"' + b"x" * size + b'"' if size else b"null"
    return Reply(ok=True, body=body, clock_ms=0)


async def run(sandbox: Sandbox, attack: str) -> Outcome:
    """Run one attack to its end, in bounded time."""
    limits = HANGING if EXPECTED.get(attack) is Reason.WALL_LIMIT else LIMITS
    request = StartRequest(script=attack.encode(), limits=limits)
    async with asyncio.timeout(30):
        return await sandbox.run(request, answer)


@pytest.mark.parametrize("attack", sorted(EVILS))
async def test_attack_ends_in_its_reason_and_the_next_run_is_clean(
    sandbox: Sandbox, attack: str
) -> None:
    """Whatever a child sends, the run ends in the right reason and the next one is untouched."""
    outcome = await run(sandbox, attack)

    assert outcome.reason is EXPECTED.get(attack, VIOLATION), outcome
    assert b"ESCAPED" not in outcome.result
    assert len(outcome.output) <= LIMITS.output_bytes
    assert (outcome.error is None) == (outcome.reason is Reason.OK)
    after = await run(sandbox, "honest")
    assert (after.reason, json.loads(after.result)) == (Reason.OK, "fine")


async def test_absurd_claims_are_cut_to_the_limits(sandbox: Sandbox) -> None:
    """A child cannot report more instructions or memory than its limits allow."""
    outcome = await run(sandbox, "claims_absurd_usage")

    assert outcome.usage.instructions == LIMITS.instructions
    assert outcome.usage.memory_bytes == LIMITS.memory_bytes


async def test_error_texts_of_a_child_are_cut_and_escaped(sandbox: Sandbox) -> None:
    """A child's error text reaches nobody's terminal with control characters, nor uncut."""
    outcome = await run(sandbox, "failure_with_terminal_escapes")

    assert outcome.error is not None
    assert outcome.error.message.startswith("\\x1b[2JEEE")
    assert len(outcome.error.message) < 2100


async def test_nothing_is_answered_after_the_result(sandbox: Sandbox) -> None:
    """A call that comes after the result reaches nobody."""
    asked: list[Call] = []

    async def note(call: Call) -> Reply:
        asked.append(call)
        return Reply(ok=True, body=b"null", clock_ms=0)

    await sandbox.run(StartRequest(script=b"calls_after_its_result", limits=LIMITS), note)

    assert asked == []


async def test_hostile_children_leave_no_descriptor_and_no_process(sandbox: Sandbox) -> None:
    """A hundred hostile ends leak neither a descriptor nor a process of ours."""
    await run(sandbox, "honest")
    before = _descriptors()
    for attack in ["two_results", "half_a_frame", "exits_without_a_word", "random_bytes"] * 25:
        await run(sandbox, attack)

    assert abs(_descriptors() - before) <= 4  # warm children come and go
    assert _children(sandbox.zygote_pid) <= 4


async def test_cancel_kills_the_child(sandbox: Sandbox) -> None:
    """A cancelled run ends at once, as cancelled."""
    cancel = asyncio.Event()
    request = StartRequest(script=b"never_answers", limits=Limits(wall_ms=30_000))
    running = asyncio.create_task(sandbox.run(request, answer, cancel=cancel))
    await asyncio.wait([running], timeout=0.1)
    cancel.set()

    async with asyncio.timeout(20):  # of the 30 s that it may take
        outcome = await running
    assert outcome.reason is Reason.CANCELLED


async def test_our_own_fault_in_answering_is_raised(sandbox: Sandbox) -> None:
    """What the answering side raises ends the child and is raised, never blamed on the script."""

    async def broken(call: Call) -> Reply:
        raise ConnectionError("the tape is away")

    with pytest.raises(ConnectionError, match="the tape is away"):
        await sandbox.run(StartRequest(script=b"replays_an_id", limits=LIMITS), broken)
    assert (await run(sandbox, "honest")).reason is Reason.OK


async def test_two_replies_in_one_place_are_our_fault(sandbox: Sandbox) -> None:
    """An order that contradicts itself is raised: no script gets replies in a guessed order."""

    async def same_place(call: Call) -> Reply:
        return Reply(ok=True, body=b"null", clock_ms=0, order=1)

    request = StartRequest(script=b"many_calls_and_prints_at_once", limits=LIMITS)
    with pytest.raises(ValueError, match="two replies of order 1"):
        await sandbox.run(request, same_place)
    assert (await run(sandbox, "honest")).reason is Reason.OK


async def test_the_answering_side_can_end_the_run(sandbox: Sandbox) -> None:
    """An `EndRun` instead of a reply kills the child with the reason it gives."""

    async def end(call: Call) -> EndRun:
        return EndRun(Reason.EFFECT_UNKNOWN, "demo.echo may have happened")

    outcome = await sandbox.run(StartRequest(script=b"replays_an_id", limits=LIMITS), end)

    assert outcome.reason is Reason.EFFECT_UNKNOWN
    assert outcome.error is not None
    assert outcome.error.message == "demo.echo may have happened"


async def test_a_killed_zygote_is_replaced(sandbox: Sandbox) -> None:
    """When the zygote is killed, running scripts end as crashed and the next run works."""
    request = StartRequest(script=b"never_answers", limits=Limits(wall_ms=20_000))
    running = asyncio.create_task(sandbox.run(request, answer))
    await leased(sandbox, 1)
    os.kill(sandbox.zygote_pid, signal.SIGKILL)

    async with asyncio.timeout(15):  # of the 20 s that it may take
        assert (await running).reason is Reason.CRASHED
    assert (await run(sandbox, "honest")).reason is Reason.OK


async def test_a_crash_changes_the_addresses(sandbox: Sandbox, deadline: Deadline) -> None:
    """After a child died of SIGSEGV the next run has another zygote, and runs in hand go on."""
    request = StartRequest(script=b"never_answers", limits=Limits(wall_ms=4_000))
    going_on = asyncio.create_task(sandbox.run(request, answer))
    before = sandbox.zygote_pid
    await asyncio.wait([going_on], timeout=1.1)  # a zygote younger than a second is kept

    assert (await run(sandbox, "segfaults")).reason is CRASHED
    assert (await run(sandbox, "honest")).reason is Reason.OK
    assert sandbox.zygote_pid != before
    assert (await going_on).reason is Reason.WALL_LIMIT

    async def ended() -> bool:
        return not is_running(before)

    await deadline.reached(ended, "the end of the old zygote")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
