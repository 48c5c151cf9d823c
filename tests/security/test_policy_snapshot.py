"""
What a script can name is exactly what the policy says, and every omission has its reason.

After a decision to change the names, `python -m tests.security.test_policy_snapshot` writes the
golden list anew; the difference is what a review looks at.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.child import policy
from sandbox.child.runtime import LUPA_VERSION, WrongEngine, check_engine
from tests.lua_child import run_lua
from tests.stock_lua import stock_lua

GOLDEN = Path(__file__).parent / "policy_snapshot.txt"

WALK = """
local seen, lines = {}, {}
local function walk(path, value)
  lines[#lines + 1] = path .. ": " .. type(value)
  if type(value) ~= "table" or seen[value] then return end
  seen[value] = true
  for k, v in pairs(value) do walk(path .. "." .. tostring(k), v) end
end
walk("_G", _G)
table.sort(lines)
return table.concat(lines, "\\n")
"""

# The members of a stock Lua 5.4, and of the table lupa adds, dotted.
STOCK = """
local names = {}
for name, value in pairs(_G) do
  names[#names + 1] = name
  if type(value) == "table" and value ~= _G then
    for member in pairs(value) do
      if type(member) == "string" then names[#names + 1] = name .. "." .. member end
    end
  end
end
return table.concat(names, "\\n")
"""


def test_every_reachable_global_is_in_the_snapshot() -> None:
    """Walking all that a script can reach finds the names of the golden list and no others."""
    assert run_lua(WALK).value == GOLDEN.read_text().strip()


def test_every_omission_is_explained() -> None:
    """Each global of stock Lua is allowed, left out for a written reason, or of such a library."""
    stock = stock_lua(STOCK).decode()
    explained = set(policy.names()) | set(policy.OMITTED) | set(policy.LIBRARIES) | {"_G"}

    unexplained = {
        name
        for name in stock.split("\n")
        if name not in explained and name.split(".")[0] not in policy.OMITTED
    }
    assert unexplained == set()


def test_nothing_is_both_allowed_and_omitted() -> None:
    """The two lists do not contradict each other, and no reason is empty."""
    assert set(policy.names()) & set(policy.OMITTED) == set()
    assert all(policy.OMITTED.values())


def test_the_order_of_pairs_tells_nothing() -> None:
    """Keys come as positive integers, other numbers, strings by bytes, false, true."""
    script = """
        local t = { "a", "b", [-1] = 1, [0] = 1, [1.5] = 1, z = 1, a = 1, [true] = 1, [false] = 1 }
        t[10] = 1
        local seen = {}
        for k in pairs(t) do seen[#seen + 1] = tostring(k) end
        return table.concat(seen, " ")
    """
    assert run_lua(script).value == "1 2 10 -1 0 1.5 a z false true"


def test_another_engine_is_refused() -> None:
    """A lupa or Lua that is not the pinned one does not start: an upgrade is a decision."""
    check_engine(LUPA_VERSION, (5, 4))
    for version, lua_version in (("2.9", (5, 4)), (LUPA_VERSION, (5, 5)), ("2.6", (5, 1))):
        with pytest.raises(WrongEngine, match="is required"):
            check_engine(version, lua_version)


if __name__ == "__main__":
    GOLDEN.write_text(run_lua(WALK).value + "\n")
