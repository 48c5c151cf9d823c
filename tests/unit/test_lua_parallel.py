"""parallel.map and parallel.all: what is in flight together, in which order things go on."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.limits import Limits
from sandbox.session import MAX_OUTSTANDING
from tests.lua_child import replay, run_lua

NUMBERS = "local numbers = {} for i = 1, %d do numbers[i] = i end "
ECHO = "local echo = app.integrations.demo.echo "


def latest(waiting: list[int]) -> int:
    """Answer the call that was made last."""
    return waiting[-1]


def test_results_keep_the_order_of_the_input() -> None:
    """Whichever reply comes first, result i is that of entry i; the index is the second value."""
    script = ECHO + "return parallel.map({ 'a', 'b', 'c' }, function(v, i) return echo(v) .. i end)"
    ended = run_lua(script, choose=replay([3, 2, 1]))

    assert ended.value == ["a1", "b2", "c3"]
    assert ended.replied == [3, 2, 1]


def test_results_that_are_nil_keep_their_places() -> None:
    """Nil results are holes of a list of the input's length, null in JSON."""
    script = "return parallel.map({ 1, 2, 3, 4 }, function(v) if v % 2 == 1 then return v end end)"

    assert run_lua(script).text == "[1,null,3,null]"
    assert run_lua("return parallel.map({}, print)").text == "[]"
    assert run_lua("return parallel.all({ function() end })").text == "[null]"


@pytest.mark.parametrize(
    ("options", "calls", "most"), [("", 30, 8), (", { concurrency = 3 }", 30, 3)]
)
def test_concurrency_bounds_what_is_in_flight(options: str, calls: int, most: int) -> None:
    """So many tasks are under way at once, 8 if nothing is said; the next starts when one ends."""
    script = f"{ECHO}{NUMBERS % calls} return #parallel.map(numbers, function(i) return echo(i) end{options})"  # noqa: E501
    ended = run_lua(script, choose=min)

    assert ended.value == calls
    assert ended.most_in_flight == most


def test_no_more_calls_are_in_flight_than_the_host_allows() -> None:
    """Groups within groups share one bound; what is over it waits for its turn and is made."""
    script = (
        ECHO
        + """
        local eight = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }
        local sums = parallel.map(eight, function(x)
          local row = parallel.map(eight, function(y) return echo(x * y) end,
            { concurrency = 10 })
          local sum = 0
          for i = 1, #row do sum = sum + row[i] end
          return sum
        end, { concurrency = 10 })
        return sums
    """
    )
    ended = run_lua(script, choose=latest)

    assert ended.value == [55 * x for x in range(1, 11)]
    assert ended.most_in_flight == MAX_OUTSTANDING


def test_all_runs_each_function() -> None:
    """parallel.all gives the results of its functions, in their order."""
    script = (
        ECHO
        + """
        return parallel.all({
          function() return echo("a") end,
          function() return 2 end,
          function() return parallel.all({ function() return echo("c") end }) end,
        })
    """
    )
    assert run_lua(script, choose=latest).value == ["a", 2, ["c"]]


def test_the_lowest_error_is_raised_after_the_others_ended() -> None:
    """Tasks under way end, no other is started, then the error of the lowest entry is raised."""
    script = (
        ECHO
        + """
        local ended = {}
        local ok, e = pcall(parallel.map, { 1, 2, 3, 4, 5, 6 }, function(i)
          echo(i)
          if i == 2 or i == 3 then error({ at = i }) end
          echo(i + 10)
          ended[#ended + 1] = i
        end, { concurrency = 4 })
        return { ok, e.at, ended }
    """
    )
    ended = run_lua(script, choose=replay([3, 1, 2, 4, 5, 6]))

    assert ended.value == [False, 2, [1, 4]]
    assert [call[3][0] for call in ended.calls] == [1, 2, 3, 4, 11, 14]


def test_an_uncaught_error_of_a_task_names_its_line() -> None:
    """The run's error is the task's own: its message, its line, and refusals stay denied."""

    def refuse(_: list[Any]) -> tuple[bool, Any]:
        return False, {"code": "denied", "message": "not granted"}

    script = ECHO + "\nparallel.map({ 1 }, function(i)\n  echo(i)\nend)"
    ended = run_lua(script, answer=refuse)

    assert (ended.reason, ended.message, ended.line) == ("denied", "not granted", 3)
    text = run_lua("\nparallel.map({ 1 }, function(i)\n  local x = i.y.z\nend)")
    assert (text.reason, text.line) == ("script_error", 3)


def test_errors_can_be_caught_in_a_task() -> None:
    """A pcall within a task catches the failure of a call, across the wait."""
    script = """
        return parallel.map({ "fail", "echo" }, function(name)
          local ok, e = pcall(app.integrations.demo[name], "x")
          return ok and e or e.code
        end)
    """
    assert run_lua(script).value == ["failed", "x"]


def test_a_scripts_own_coroutines_work_in_a_task() -> None:
    """A generator that makes calls yields what it yields; its waits pass by the script."""
    script = (
        ECHO
        + """
        return parallel.map({ 1, 2, 3 }, function(n)
          local co
          local gen = coroutine.wrap(function()
            co = coroutine.running()
            for i = 1, 3 do coroutine.yield(echo(n * i)) end
          end)
          local seen = {}
          for v in gen do seen[#seen + 1] = v .. coroutine.status(co) end
          return table.concat(seen, " ")
        end)
    """
    )
    ended = run_lua(script, choose=latest)

    assert ended.value == [" ".join(f"{n * i}suspended" for i in (1, 2, 3)) for n in (1, 2, 3)]
    assert ended.replied != sorted(ended.replied)


def test_a_task_cannot_be_yielded_from() -> None:
    """A yield of the task itself has nobody to go to: an error that says what to do."""
    script = "return parallel.map({ 1 }, function() return select(2, pcall(coroutine.yield)) end)"

    [message] = run_lua(script).value
    assert "attempt to yield from a parallel task; yield in a coroutine made in it" in message


def test_a_call_within_a_c_function_waits_on_the_spot() -> None:
    """Where a coroutine cannot be left, a call still works; the other tasks' replies are kept."""
    script = (
        ECHO
        + """
        return parallel.map({ "ab", "cd" }, function(s)
          return echo((s:gsub(".", function(c) return echo(c .. c) end)))
        end)
    """
    )
    ended = run_lua(script)

    assert ended.value == ["aabb", "ccdd"]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("parallel.map(1, print)", "parallel.map: the first argument is a list, not a number"),
        ("parallel.map({}, {})", "parallel.map: the second argument is a function, not a table"),
        ("parallel.map({}, print, 8)", "options are a table like { concurrency = 8 }"),
        ("parallel.map({}, print, { concurency = 8 })", "unknown option concurency; known: conc"),
        ("parallel.map({}, print, { concurrency = 65 })", "whole number from 1 to 64, not 65"),
        ("parallel.map({}, print, { concurrency = 0 })", "whole number from 1 to 64, not 0"),
        ("parallel.map({}, print, { concurrency = '8' })", "whole number from 1 to 64, not 8"),
        ("parallel.all(print)", "parallel.all: a list of functions is expected, not a function"),
        ("parallel.all({ a = print })", "1 to n, not a table with other keys or gaps"),
        ("parallel.all({ print, 2 })", "parallel.all: entry 2 is a number, not a function"),
        ("parallel.each({})", "Unknown function: parallel.each."),
    ],
)
def test_wrong_arguments_are_explained(expression: str, words: str) -> None:
    """A wrong argument is an error at the script's line, before anything is called."""
    ended = run_lua(f"\n{expression}")

    assert (ended.reason, ended.line, ended.calls) == ("script_error", 2, [])
    assert words in ended.message


def test_limits_hold_in_tasks() -> None:
    """Calls, instructions and output are counted over all tasks, and nothing catches the end."""
    calls = ECHO + NUMBERS % 50 + "pcall(parallel.map, numbers, function(i) pcall(echo, i) end)"
    spin = "pcall(parallel.map, { 1, 2 }, function() pcall(function() while true do end end) end)"

    assert run_lua(calls, limits=Limits(calls=7)).reason == "call_limit"
    assert run_lua(spin, limits=Limits(instructions=50_000)).reason == "instruction_limit"
    loud = "parallel.map({ 1, 2 }, function() while true do print('x') end end)"
    assert run_lua(loud, limits=Limits(output_bytes=100)).reason == "output_limit"


def test_output_comes_before_the_waiting_that_follows_it() -> None:
    """What tasks printed is sent before the script waits for a reply."""
    script = ECHO + "parallel.map({ 1, 2 }, function(i) echo(i) print(i) end)"
    ended = run_lua(script)

    assert ended.order == ["CALL", "CALL", "PRINT", "PRINT", "DONE"]
