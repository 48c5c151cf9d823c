"""The library functions a script has: like stock Lua, but for what the reference names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lua_child import CLOCK_MS, run_lua
from tests.stock_lua import stock_lua

# How a value is shown, on both sides.
SHOW = """
local function show(...)
  local out = {}
  for i = 1, select("#", ...) do
    local v = (select(i, ...))
    if type(v) == "table" then
      local inner = {}
      for j = 1, #v do inner[j] = tostring(v[j]) end
      v = "{" .. table.concat(inner, ",") .. "}"
    end
    out[i] = math.type(v) == "float" and ("%.17g"):format(v) .. "f" or tostring(v)
  end
  return table.concat(out, "|")
end
local function all(f, s, c)
  local out = {}
  for a, b in f, s, c do out[#out + 1] = tostring(a) .. "=" .. tostring(b) end
  return out
end
"""
SAME = (Path(__file__).parent / "same_as_stock_lua.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def both_sides() -> tuple[list[str], list[str]]:
    """What stock Lua gives for each expression, and what a child gives."""
    lines = "".join(f"  function() return show({one}) end,\n" for one in SAME)
    body = f"{SHOW} local out, tests = {{}}, {{\n{lines} }}\n"
    loop = "for i = 1, #tests do out[i] = select(2, pcall(tests[i])) end "
    stock = stock_lua(f"{body}{loop} return table.concat(out, '\\1\\1')").decode("latin-1")
    ours = run_lua(f"{body}{loop} for i = 1, #out do print(out[i] .. '\\1\\1') end")
    assert ours.reason == "ok", ours.message
    return stock.split("\1\1"), ours.output.decode("latin-1").split("\1\1\n")[:-1]


@pytest.mark.parametrize("number", range(len(SAME)), ids=SAME)
def test_it_does_what_stock_lua_does(both_sides: tuple[list[str], list[str]], number: int) -> None:
    """A rewritten library function gives what the original gives."""
    stock, ours = both_sides

    assert ours[number] == stock[number]


def test_time_and_chance_are_inputs() -> None:
    """os.time is the run's clock, moved by replies; random numbers come of the seed alone."""
    script = """
        local before = os.time()
        app.integrations.demo.echo()
        local first = math.random(1 << 40)
        math.randomseed()
        local again = math.random(1 << 40)
        local nothing = select("#", math.randomseed(7))
        return { before, os.time(), first == again, first, nothing, os.date() }
    """
    one, same, other = (run_lua(script, seed=seed).value for seed in (1, 1, 2))

    assert one[:3] == [CLOCK_MS // 1000, CLOCK_MS // 1000 + 1, True]
    assert one == same
    assert one[3] != other[3]
    assert one[4:] == [0, "Tue Nov 14 22:13:21 2023"]


def test_the_clock_counts_instructions() -> None:
    """os.clock goes with metered work, so it is equal on replay."""
    script = "local a = os.clock() for i = 1, 1000000 do end return { a < os.clock(), os.clock() }"

    assert run_lua(script).value == run_lua(script).value
    assert run_lua(script).value[0]


def test_strings_are_not_numbers() -> None:
    """Arithmetic on strings is an error with a hint, not a conversion."""
    ended = run_lua('local n = "10" + 1')

    assert (ended.reason, ended.line) == ("script_error", 1)
    assert "arithmetic on a string" in ended.message
    assert ended.hint is not None
    assert "tonumber" in ended.hint


def test_no_value_has_an_address() -> None:
    """Tables, functions and coroutines read as the names of their types."""
    script = """
        local told = setmetatable({}, { __tostring = function() return "T" end })
        return { tostring({}), tostring(print), tostring(coroutine.create(print)),
          ("%s"):format({}), tostring(told) }
    """
    assert run_lua(script).value == ["table", "function", "thread", "table", "T"]


def test_print_shows_tables() -> None:
    """`print` shows tables like JSON, in a fixed order, bounded, and survives cycles."""
    ended = run_lua("""
        local t = { b = { 1, 2.0, true }, a = { x = "y\\n" } }
        t.self = t
        print("see", t, nil, json.null)
        print({}, json.decode("[]"), json.decode("[[],{}]"), { [1.5] = print })
        local deep = {}
        for i = 1, 100 do deep = { deep } end
        print(deep)
        local mine = setmetatable({}, { __tostring = function() return "mine" end })
        print(app.integrations.demo, mine)
    """)
    lines = ended.printed.splitlines()

    assert lines[0] == (
        'see\t{"a": {"x": "y\\n"}, "b": [1, 2.0, true], "self": <cycle>}\tnil\tnull'
    )
    assert lines[1] == "{}\t[]\t[[], {}]\t{[1.5]: <function>}"
    assert "<nested deeper>" in lines[2]
    assert lines[3] == "<app.integrations.demo>\tmine"


def test_a_long_table_is_cut() -> None:
    """A table too long to show says how much was left out."""
    ended = run_lua("local t = {} for i = 1, 20000 do t[i] = i end print(t)")

    assert ended.output.endswith(b" more\n]\n")
    assert len(ended.output) < 150_000


def test_dump_gives_its_values_back() -> None:
    """`dump` prints each value and returns all of them."""
    ended = run_lua('local a, b = dump("text", { 1 }) return { a, b }')

    assert ended.value == ["text", [1]]
    assert ended.printed == '"text"\n[1]\n'


def test_print_refuses_too_many_values() -> None:
    """More than 200 values are an error that says so."""
    ended = run_lua("print(table.unpack({}, 1, 201))")

    assert "at most 200 values, got 201" in ended.message


def test_refused_metatable_fields_name_themselves() -> None:
    """Finalizers, weak tables and closing values are refused by name."""
    for field in ("__gc", "__mode", "__close"):
        ended = run_lua(f"setmetatable({{}}, {{ {field} = 'k' }})")
        assert f"'{field}' is not available" in ended.message


def test_methods_set_after_setmetatable_are_seen_by_the_next_object() -> None:
    """Metamethods are read when setmetatable is called, and shared by objects of one class."""
    script = """
        local C = {}
        local a = setmetatable({}, C)
        C.__index = { name = "later" }
        local b = setmetatable({}, C)
        return { tostring(a.name), b.name }
    """
    assert run_lua(script).value == ["later", "later"]


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("return", "[]"),
        ("return nil", "[null]"),
        ("return {1, 2}", "[[1,2]]"),
        ("return 1, nil", "[1,null]"),
    ],
)
def test_return_values_can_be_asked_for_as_a_list(script: str, text: str) -> None:
    """With `listed` none, one and several values are told apart."""
    assert run_lua(script, listed=True).text == text
