"""pairs and next in their fixed order, under the changes Lua allows while walking."""

from __future__ import annotations

from tests.lua_child import run_lua

MIXED = (
    "local t = { 10, 20, [7] = 70, [-2] = 1, [0.5] = 2, b = 3, a = 4, [true] = 5, [false] = 6 } "
)


def test_pairs_and_next_agree() -> None:
    """Both give the same keys in the same order."""
    script = (
        MIXED
        + """
        local one, two = {}, {}
        for k, v in pairs(t) do one[#one + 1] = tostring(k) .. "=" .. v end
        for k, v in next, t do two[#two + 1] = tostring(k) .. "=" .. v end
        return { table.concat(one, " "), table.concat(two, " ") }
    """
    )
    one, two = run_lua(script).value

    assert one == "1=10 2=20 7=70 -2=1 0.5=2 a=4 b=3 false=6 true=5"
    assert one == two


def test_fields_may_be_cleared_and_assigned_while_walking() -> None:
    """Cleared keys that were not reached are passed over, assigned ones show their new value."""
    script = """
        local t = { a = 1, b = 2, c = 3, d = 4 }
        local seen = {}
        for k, v in pairs(t) do
          seen[#seen + 1] = k .. v
          t[k] = nil
          t.c = nil
          if t.d then t.d = 9 end
        end
        return { table.concat(seen, " "), next(t) == nil }
    """
    assert run_lua(script).value == ["a1 b2 d9", True]


def test_next_goes_on_after_a_cleared_key() -> None:
    """Clearing each key as it is given ends with an empty table, however it is walked."""
    script = """
        local t = {}
        for i = 1, 100 do t["k" .. i] = i t[i * 2] = i end
        local n = 0
        for k in next, t do t[k] = nil n = n + 1 end
        return { n, next(t) == nil }
    """
    assert run_lua(script).value == [200, True]


def test_a_new_walk_sees_keys_added_since() -> None:
    """Looking whether a table is empty, then adding keys, then walking it, gives them all."""
    script = """
        local t = { m = 1 }
        if next(t) == nil then error("not empty") end
        t.a, t.z, t.n = 2, 3, 4
        local seen = {}
        local k = next(t)
        while k do seen[#seen + 1] = k k = next(t, k) end
        table.sort(seen)
        return table.concat(seen)
    """
    assert run_lua(script).value == "amnz"


def test_nested_walks_do_not_disturb_each_other() -> None:
    """Two tables walked with next inside each other, and one table walked twice at once."""
    script = """
        local a, b, n = { x = 1, y = 2, z = 3 }, { p = 1, q = 2 }, 0
        for _ in next, a do for _ in next, b do for _ in next, a do n = n + 1 end end end
        return n
    """
    assert run_lua(script).value == 18


def test_an_unknown_key_is_an_error() -> None:
    """`next` of a key that was never there fails for keys without an order, as in stock Lua."""
    assert "invalid key to 'next'" in run_lua("next({ a = 1 }, {})").message


def test_taking_the_first_key_again_and_again_is_cheap() -> None:
    """A table used as a queue of names does not take a snapshot at each step."""
    script = """
        local t = {}
        for i = 1, 5000 do t["k" .. i] = i end
        while next(t) do t[next(t)] = nil end
    """
    assert run_lua(script).instructions < 2_000_000


def test_an_emptiness_test_is_cheap() -> None:
    """next(t) == nil on a long list costs a few instructions."""
    script = """
        local t = {}
        for i = 1, 1000 do t[i] = i end
        for i = 1, 1000 do if next(t) == nil then return false end end
    """

    assert run_lua(script).instructions < 60_000
