"""Programs of any kind, executed with answers in any order: their replay is the same run."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.calls import Effect, EffectClass
from integrations.call_log import CallFacts, CallLog, Ending
from integrations.replayed import Replayed
from ledger.recording import Recording
from ledger.tape import Kind, MemoryTape
from sandbox.calls import Call, EndRun, FunctionSurface, Reply, StartRequest
from sandbox.limits import Limits
from sandbox.outcome import Outcome, Reason
from sandbox.supervisor import Sandbox

EXAMPLES = 100
SURFACE = {"demo": FunctionSurface(("echo", "fail"))}

names = st.sampled_from(["a", "b", "c", "d"])
numbers = st.integers(-3, 9)
simple = st.one_of(
    numbers.map(str),
    names.map(lambda name: f"(v.{name} or 0)"),
    st.sampled_from(["os.time()", "math.random(9)", "#tostring(os.clock())", "'x'", "#input.s"]),
)


def call(argument: str) -> str:
    """A call whose reply is used."""
    return f"echo({{ n = {argument}, s = os.date() }})"


values = st.recursive(
    simple,
    lambda inner: st.one_of(
        inner.map(call),
        inner.map(lambda one: f"select(2, pcall(fail, {one})).message"),
        st.lists(inner, max_size=4).map(lambda all_: f"{{ {', '.join(all_)} }}"),
        st.tuples(names, inner, names, inner).map(
            lambda p: f"{{ {p[0]} = {p[1]}, {p[2]} = {p[3]} }}"
        ),
        st.tuples(inner, st.integers(1, 4)).map(
            lambda p: (
                f"parallel.map({{1, 2, 3, 4, 5}}, function(m) print(m, os.time())"
                f" return {{ m, {p[0]}, echo(m) }} end, {{ concurrency = {p[1]} }})"
            )
        ),
    ),
    max_leaves=5,
)
statements = st.one_of(
    st.tuples(names, values).map(lambda p: f"v.{p[0]} = {p[1]}"),
    values.map(lambda one: f"print(json.encode({one}))"),
    values.map(lambda one: f"for k, w in pairs({{ {one}, x = 1, y = 2 }}) do print(k) end"),
    st.tuples(simple, values).map(lambda p: f"if {p[0]} == 3 then error({p[1]}) end"),
    values.map(lambda one: f"for i = 1, 3 do v[i] = {one} end"),
    st.just("while v.a == 1 do end"),
)
programs = st.lists(statements, min_size=1, max_size=6).map(
    lambda lines: "\n".join(
        [
            "local echo, fail, v = app.integrations.demo.echo, app.integrations.demo.fail, {}",
            *lines,
            "return json.encode(v)",
        ]
    )
)


class Vendor:
    """Answers calls on a tape, those in flight together in any order and at any time."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311
        self.tape = MemoryTape(lambda: 1_000)
        self._now_ms = 1_790_000_000_000
        self._log = CallLog(self.tape, self._clock)
        self.made: list[Call] = []

    def _clock(self) -> int:
        self._now_ms += self._chance.randrange(5_000)
        return self._now_ms

    async def __call__(self, call: Call) -> Reply | EndRun:
        """Answer one call."""
        self.made.append(call)
        facts = CallFacts.of(call, call.name, None, EffectClass.READ, 0.0)
        await self._log.intent(facts, "{}")
        for _ in range(self._chance.randrange(6)):
            await asyncio.sleep(0)
        failed = call.function == "fail"
        body: Any = orjson.loads(call.arguments)[0]
        if failed:
            body = {"message": f"no {call.seq}", "code": "failed"}
        effect = Effect.FAILED if failed else Effect.SUCCEEDED
        return await self._log.effect(facts, Ending(effect, ok=not failed, body=orjson.dumps(body)))


class Noted:
    """A replay whose calls are noted."""

    def __init__(self, replayed: Replayed) -> None:
        self._replayed = replayed
        self.made: list[Call] = []

    def __call__(self, call: Call) -> Awaitable[Reply | EndRun]:
        """Answer one call from the tape."""
        self.made.append(call)
        return self._replayed.call(call)


def request_of(program: str, seed: int) -> StartRequest:
    """Make the run's request: its limit of instructions is one that some programs pass."""
    return StartRequest(
        script=program.encode(),
        input=b'{"s":"abc"}',
        limits=Limits(instructions=2_000_000, calls=60, cpu_ms=20_000),
        seed=seed,
        clock_ms=1_790_000_000_000,
        surface=SURFACE,
    )


def told(outcome: Outcome) -> tuple[Any, ...]:
    """Give all that has to be equal."""
    error = None if outcome.error is None else outcome.error.to_json()
    used = (outcome.usage.instructions, outcome.usage.calls, outcome.usage.output_bytes)
    return outcome.reason, outcome.result, outcome.output, error, used


async def both(program: str, seed: int, one: Sandbox, other: Sandbox) -> Outcome:
    """Execute a program in one sandbox, and replay it in another, whose hash seed is another."""
    vendor = Vendor(seed)
    await vendor.tape.append(Kind.ACCEPTED, {})
    await vendor.tape.append(Kind.STARTED, {"clock_ms": 1_790_000_000_000})
    first = await one.run(request_of(program, seed), vendor)
    recording = Recording.of(vendor.tape.entries)
    replayed = Replayed(recording, raises=False, ended=first.reason)
    noted = Noted(replayed)
    again = await other.run(request_of(program, seed), noted)

    assert replayed.departure(again.reason) is None
    assert told(again) == told(first)
    if first.reason is not Reason.INSTRUCTION_LIMIT:
        assert noted.made == vendor.made
    return first


def test_any_program_replays_to_the_same_end() -> None:
    """Result, output, error, reason, calls and instructions, whatever order replies came in."""
    seen: Counter[tuple[Reason, bool]] = Counter()
    with asyncio.Runner() as runner:
        one, other = Sandbox(spares=2), Sandbox(spares=2)

        @given(programs, st.integers(0, 1 << 62))
        @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
        def check(program: str, seed: int) -> None:
            first = runner.run(both(program, seed, one, other))
            seen[first.reason, first.usage.calls > 0] += 1

        try:
            check()
        finally:
            runner.run(one.close())
            runner.run(other.close())
    assert seen[Reason.OK, True] > EXAMPLES / 10
    assert seen[Reason.SCRIPT_ERROR, True] > 0
