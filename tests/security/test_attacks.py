"""Every script of the corpus, in the real jail, under the judging rules of its header."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.calls import Call, EndRun, FunctionSurface, Reply, StartRequest
from sandbox.limits import Limits
from sandbox.outcome import Outcome, Reason
from sandbox.supervisor import Sandbox

pytestmark = pytest.mark.jail

ATTACKS = {
    path.stem: path.read_bytes()
    for path in sorted((Path(__file__).parent / "attacks").glob("*.lua"))
}
# Shorter than the default so that all of them take seconds; more calls, so that the attacks that
# make thousands get to make them.
LIMITS = Limits(cpu_ms=1_500, wall_ms=15_000, calls=10_000)
LONGEST_ERROR = 2_048
SURFACE = {"demo": FunctionSurface(["echo", "fail"])}

MEANINGS: dict[str, set[Reason]] = {
    "ok": {Reason.OK},
    "error": {
        Reason.SCRIPT_ERROR,
        Reason.SYNTAX_ERROR,
        Reason.INVALID_RESULT,
        Reason.DENIED,
    },
    "denied": {Reason.DENIED, Reason.SCRIPT_ERROR},
    "limit_instructions": {Reason.INSTRUCTION_LIMIT},
    "limit_memory": {Reason.MEMORY_LIMIT},
    "limit_time": {Reason.CPU_LIMIT, Reason.WALL_LIMIT},
    "limit_output": {Reason.OUTPUT_LIMIT, Reason.RESULT_LIMIT},
}


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """The real supervisor, zygote and child."""
    async with Sandbox(2) as box:
        yield box


async def answer(call: Call) -> Reply | EndRun:
    """`demo.echo` gives its argument back; everything else fails."""
    if call.name == "demo.echo":
        arguments = json.loads(call.arguments)
        text = json.dumps(arguments[0] if arguments else None).encode()
        return Reply(ok=True, body=text, clock_ms=0)
    return Reply(ok=False, body=b'{"message":"it fails","code":"failed"}', clock_ms=0)


async def run(sandbox: Sandbox, script: bytes, limits: Limits = LIMITS) -> Outcome:
    """Run a script to its end, in bounded time."""
    request = StartRequest(script=script, limits=limits, surface=SURFACE)
    return await asyncio.wait_for(sandbox.run(request, answer), timeout=30)


def expected_of(script: str) -> set[Reason]:
    """Read the reasons that contain the attack out of its header."""
    header = next(line for line in script.splitlines() if line.startswith("-- expect:"))
    words = header.removeprefix("-- expect:").strip().split("|")
    return set().union(*(MEANINGS[word] for word in words))


def test_the_whole_corpus_is_here() -> None:
    """No attack of the public catalogue is missing, and each has its header."""
    assert len([name for name in ATTACKS if not name.startswith("own-")]) == 79
    assert all(script.startswith(b"-- class: ") for script in ATTACKS.values())


@pytest.mark.parametrize("name", ATTACKS)
async def test_attack_is_contained(sandbox: Sandbox, name: str) -> None:
    """An attack ends for an expected reason, within every cap, and the next run is clean."""
    script = ATTACKS[name]
    for _ in range(2 if "cross-run" in name else 1):
        outcome = await run(sandbox, script)

        assert outcome.reason in expected_of(script.decode()), outcome.error
        assert b"ESCAPED" not in outcome.result
        assert len(outcome.result) <= LIMITS.result_bytes
        assert outcome.usage.output_bytes <= LIMITS.output_bytes
        assert outcome.error is None or len(outcome.error.message.encode()) <= LONGEST_ERROR

    after = await run(sandbox, b"print('clean') return 1 + 1")
    assert (after.reason, after.result, after.output) == (Reason.OK, b"2", "clean\n")


@pytest.mark.parametrize("seed", range(1, 7))
async def test_random_calls_are_contained(sandbox: Sandbox, seed: int) -> None:
    """Random library calls with odd arguments end in a reason, and leak no address of ours."""
    name = "own-22-random-calls"
    request = StartRequest(script=ATTACKS[name], limits=LIMITS, surface=SURFACE, seed=seed)
    outcome = await asyncio.wait_for(sandbox.run(request, answer), timeout=30)

    assert outcome.reason in expected_of(ATTACKS[name].decode()), outcome.error
    assert b"ESCAPED" not in outcome.result


@pytest.mark.parametrize(
    ("script", "reason", "layer"),
    [
        ("while true do end", Reason.INSTRUCTION_LIMIT, "count hook"),
        ("while true do pcall(string.rep, 'x', -1) end", Reason.INSTRUCTION_LIMIT, "count hook"),
        ("local s = 'x' while true do s = s .. s end", Reason.MEMORY_LIMIT, "allocator"),
        ("return ('a'):rep(40):find(('a-'):rep(40) .. 'b')", Reason.CPU_LIMIT, ""),
        ("while true do print('x') end", Reason.OUTPUT_LIMIT, "print"),
        ("while true do app.integrations.demo.echo() end", Reason.CALL_LIMIT, "call counter"),
        ("return ('x'):rep(2000000)", Reason.RESULT_LIMIT, "result encoder"),
    ],
)
async def test_limits_name_themselves(
    sandbox: Sandbox, script: str, reason: Reason, layer: str
) -> None:
    """The error of a limit names what was used, what is allowed, and the layer that fired."""
    cpu_ms = 1_500 if reason is Reason.CPU_LIMIT else 20_000
    outcome = await run(sandbox, script.encode(), Limits(cpu_ms=cpu_ms, calls=20))

    assert outcome.reason is reason
    assert outcome.error is not None
    assert "limit reached: used " in outcome.error.message
    assert " allowed " in outcome.error.message
    # Of the processor time, the child's timer or the parent's clock may be first to tell.
    assert f"(layer: {layer}" in outcome.error.message


async def test_a_deep_result_is_named(sandbox: Sandbox) -> None:
    """A result nested too deep is an invalid result whose message names the depth."""
    outcome = await run(sandbox, b"local t = {} for i = 1, 70 do t = { t } end return t")

    assert outcome.reason is Reason.INVALID_RESULT
    assert outcome.error is not None
    assert "deeper than 64 levels" in outcome.error.message


async def test_what_was_printed_survives_a_hang(sandbox: Sandbox) -> None:
    """Text printed before an endless loop or a C call that never ends is not lost."""
    loop = await run(sandbox, b"print('before') while true do end")
    bomb = await run(sandbox, b"print('before') return ('a'):rep(40):find(('a-'):rep(40) .. 'b')")

    assert (loop.output, bomb.output) == ("before\n", "before\n")


async def test_a_run_is_the_same_in_another_process() -> None:
    """Two zygotes, with other hash seeds and addresses, give the same bytes and the same count."""
    script = b"""
        local t = {}
        for i = 1, 500 do t["key" .. i * 7919 % 1009] = i t[i % 50 - 25] = i t[i + 0.5] = true end
        local seen = {}
        for k in pairs(t) do seen[#seen + 1] = tostring(k) end
        for k in next, t do seen[#seen + 1] = tostring(k) end
        table.sort(seen, function(a, b) return a < b end)
        print(t)
        local text = json.encode({ a = 1, b = 2, c = 3 })
        return { seen, math.random(), text, json.encode(json.decode(text)) }
    """
    outcomes = []
    for _ in range(2):
        async with Sandbox(1) as box:
            outcomes.append(await run(box, script))

    first, second = outcomes
    assert first.reason is Reason.OK, first.error
    assert first.result == second.result
    assert first.output == second.output
    assert first.usage.instructions == second.usage.instructions
