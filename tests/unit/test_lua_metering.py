"""The instruction count: exact, equal on each run, and proportional to what C does for a script."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.lua_child import run_lua


def count(script: str) -> int:
    """Run a script that must succeed and give its instruction count."""
    ended = run_lua(script)
    assert ended.reason == "ok", ended.message
    return ended.instructions


def test_the_count_is_exact_to_a_few_instructions() -> None:
    """Each further turn of a loop costs what its instructions cost, without rounding to periods."""
    counts = [count(f"for i = 1, {n} do end return 1") for n in (10, 110, 1_110, 11_110, 1_011_110)]
    steps = [b - a for a, b in pairwise(counts)]

    assert steps == [pytest.approx(n, abs=24, rel=0.002) for n in (100, 1_000, 10_000, 1_000_000)]


def test_an_empty_run_costs_next_to_nothing() -> None:
    """The work of setting a run up is not the script's."""
    assert count("return 1 + 1") < 500


@pytest.mark.parametrize(
    "script",
    [
        "local t = {} for i = 1, 300 do t['k' .. i] = i end for k in pairs(t) do t[k] = 1 end",
        "local t = { a = 1, b = 2, c = 3, d = 4 } return json.encode(t)",
        "print({ z = 1, y = { 2 }, x = 'a' }) return next({ b = 1, a = 2 })",
        "return app.integrations.demo.echo({ a = 1, b = { 1, 2 } })",
        "local co = coroutine.wrap(function() coroutine.yield(1) end) co() co()",
    ],
)
def test_the_count_is_equal_on_each_run(script: str) -> None:
    """The same script spends the same number of instructions."""
    assert count(script) == count(script)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ("('x'):rep(1000)", "('x'):rep(1000000)"),
        ("('x'):rep(1000):find('y')", "('x'):rep(1000000):find('y')"),
        ("('x'):rep(1000):gsub('x', 'y')", "('x'):rep(1000000):gsub('x', 'y')"),
        ("('x'):rep(1000):upper()", "('x'):rep(1000000):upper()"),
        ("json.encode(('x'):rep(1000))", "json.encode(('x'):rep(1000000))"),
        ("regex.match(('x'):rep(1000), 'y')", "regex.match(('x'):rep(1000000), 'y')"),
        ("table.unpack({}, 1, 100)", "table.unpack({}, 1, 90000)"),
        ("table.concat({ 1 })", "table.concat(table.pack(('x'):rep(999):byte(1, -1)))"),
        ("utf8.len(('x'):rep(1000))", "utf8.len(('x'):rep(1000000))"),
    ],
)
def test_library_work_is_charged_by_its_size(small: str, large: str) -> None:
    """One call that does a thousand times the work costs more than one instruction more."""
    assert count(f"local _ = {large}") > count(f"local _ = {small}")


def test_coroutines_pay_a_period_each_time() -> None:
    """Creating and resuming a coroutine costs at least the period its own hook could miss."""
    once = count("local co = coroutine.create(function() end) coroutine.resume(co)")

    assert once >= 2_000


def test_a_failed_protected_call_pays_a_period() -> None:
    """A caught error costs what a hook that could not run might have missed."""
    assert count("pcall(error, 'x')") >= 1_000


def test_at_most_a_thousand_coroutines_live() -> None:
    """The coroutine over the limit is an error; finished and forgotten ones make room."""
    script = """
        local made = 0
        for i = 1, 3000 do coroutine.wrap(function() coroutine.yield() end)() made = made + 1 end
        local keep = {}
        local ok, e = pcall(function()
          for i = 1, 2000 do
            keep[i] = coroutine.create(function() coroutine.yield() end)
            coroutine.resume(keep[i])
          end
        end)
        return { made, ok, #keep, e }
    """
    made, ok, kept, problem = run_lua(script).value

    assert (made, ok, kept) == (3000, False, 1000)
    assert "1000 of 1000 allowed are alive" in problem
