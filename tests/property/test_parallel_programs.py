"""Any order of replies gives the same results, and one order gives the same run, exactly."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lua_child import replay, run_lua

SCRIPT = """
local echo = app.integrations.demo.echo
local function work(n)
  if n % 5 == 0 then return nil end
  local first = echo(n)
  if n % 7 == 3 then
    local inner = parallel.map({ 1, 2, 3 }, function(m) return echo(n * m) end)
    return { first, inner }
  end
  local gen = coroutine.wrap(function() for i = 1, n % 3 do coroutine.yield(echo(n + i)) end end)
  local text = ("xy"):gsub("y", function() return n % 4 == 1 and echo("z") or "y" end)
  return { first, gen() or false, text }
end
local sequential = {}
for i = 1, #input.numbers do sequential[i] = input.parallel and json.null or work(input.numbers[i]) end
if input.parallel then return parallel.map(input.numbers, work, { concurrency = input.concurrency }) end
for i = 1, #input.numbers do sequential[i] = sequential[i] or json.null end
return json.array(sequential)
"""  # noqa: E501

TRACE = """
local echo = app.integrations.demo.echo
local order = {}
parallel.map(input.numbers, function(n)
  for i = 1, n % 3 + 1 do
    echo(n)
    order[#order + 1] = n
    print(n, os.time(), math.random(100))
  end
end, { concurrency = input.concurrency })
return order
"""

numbers = st.lists(st.integers(1, 40), min_size=1, max_size=8)
concurrencies = st.integers(1, 9)


@given(numbers, concurrencies, st.integers(0, 1 << 30))
@settings(max_examples=25, deadline=None)
def test_any_order_of_replies_gives_the_sequential_results(
    items: list[int], concurrency: int, seed: int
) -> None:
    """Functions that depend on their entry alone give what a loop would, in its order."""
    given_input: dict[str, Any] = {"numbers": items, "concurrency": concurrency}
    looped = run_lua(SCRIPT, json.dumps({**given_input, "parallel": False}))
    chance = random.Random(seed)  # noqa: S311
    ended = run_lua(SCRIPT, json.dumps({**given_input, "parallel": True}), choose=chance.choice)

    assert ended.value == looped.value
    assert sorted(ended.replied) == list(range(1, len(looped.calls) + 1))


@given(numbers, concurrencies, st.integers(0, 1 << 30))
@settings(max_examples=25, deadline=None)
def test_a_recorded_order_gives_the_same_run(items: list[int], concurrency: int, seed: int) -> None:
    """The order of replies fed back gives the same calls, output, result and instructions."""
    given_input = json.dumps({"numbers": items, "concurrency": concurrency})
    chance = random.Random(seed)  # noqa: S311
    first = run_lua(TRACE, given_input, choose=chance.choice)
    again = run_lua(TRACE, given_input, choose=replay(first.replied))

    assert again.value == first.value
    assert again.replied == first.replied
    assert (again.calls, again.output) == (first.calls, first.output)
    assert again.instructions == first.instructions
