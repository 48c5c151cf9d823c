-- class: instructions/numeric-edge
-- expect: limit_instructions|error|ok|limit_memory
-- must_not: lengths and positions near 2^63 overflow a charge and turn the count back
local big, small = math.maxinteger, math.mininteger
local tries = {
  function() return table.unpack({}, small, big) end,
  function() return table.unpack({}, big - 1, big) end,
  function() return table.unpack({}, small, small + 10) end,
  function() return table.insert({}, small, 1) end,
  function() return table.insert({}, big, 1) end,
  function() return table.remove({ 1, 2, 3 }, small) end,
  function() return table.remove({}, big) end,
  function() return utf8.offset("abc", small) end,
  function() return utf8.offset("abc", big) end,
  function() return ("x"):rep(small) end,
  function() return ("x"):find("x", small) end,
  function() return ("x"):find("x", big) end,
  function() return ("x"):match("x", small) end,
  function() for _ in ("x"):gmatch("x", small) do end end,
  function() for _ in ("x"):gmatch("x", big) do end end,
  function() return ("x"):byte(small, big) end,
  function() return ("x"):sub(small, big) end,
  function() return string.rep("", big, "") end,
  function() return string.rep("", 9e18, "") end,
  function() return string.rep("", "9000000000000000000", "") end,
  function() return table.concat({}, "", small, small + 1) end,
  function() return table.concat({ 1 }, "", big, big) end,
  function() return os.time { year = big, month = big, day = big } end,
  function() return os.date("%Y", big) end,
  function() return regex.gsub("aaa", "a", "b", small) end,
  function() return math.random(small, big) end,
  function() return select(small, 1) end,
  function() return string.format("%" .. ("9"):rep(99) .. "d", 1) end,
}
for i = 1, #tries do pcall(tries[i]) end
pcall(table.move, {}, small, small + 5, 1)
pcall(table.move, setmetatable({}, {}), small, big, 1)
table.move({}, 1, big, 1)
return "contained"
