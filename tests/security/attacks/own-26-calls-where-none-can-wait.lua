-- class: memory-safety/coroutine
-- expect: ok
-- must_not: calls and groups within functions of C, comparators, metamethods and handlers yield across them
local echo = app.integrations.demo.echo
local function work(i)
  local text = ("abc"):gsub(".", function(c) return echo(c .. i) end)
  local groups = ("ab"):gsub(".", function(c)
    return table.concat(parallel.map({ 1, 2, 3 }, function(n)
      return ((c .. n):gsub("%d", function(d) return echo(d) end))
    end))
  end)
  local sorted = { 3, 1, 2 }
  table.sort(sorted, function(a, b) return echo(a) < echo(b) end)
  local both = setmetatable({}, {
    __index = function(_, k) return echo(k) end,
    __lt = function() return echo(true) end,
    __eq = function() return echo(true) end,
    __concat = function(_, b) return echo("joined" .. b) end,
    __len = function() return echo(4) end,
    __call = function(_, x) return parallel.map({ x }, echo)[1] end,
    __tostring = function() return echo("shown") end,
    __pairs = function() return function(_, k) if not k then return echo(1), 2 end end end,
  })
  local other = setmetatable({}, { __lt = function() return echo(true) end, __eq = function() return echo(true) end })
  local seen = {}
  for k, v in pairs(both) do seen[#seen + 1] = k .. "=" .. v end
  local _, handled = xpcall(error, function(e) return echo("handled " .. e) end, "it")
  local gen = coroutine.wrap(function()
    coroutine.yield((("x"):gsub("x", function() return coroutine.wrap(function() return echo("deep") end)() end)))
  end)
  return table.concat({
    text, groups, table.concat(sorted, ","), both.field, tostring(both < other), tostring(both == other),
    both .. "!", #both, both(9), tostring(both), seen[1], handled, gen(), math.max(1, 2),
  }, " ")
end
local one = work(1)
local results = parallel.map({ 1, 1, 1 }, work, { concurrency = 3 })
for i = 1, 3 do if results[i] ~= one then return "ESCAPED" end end
return one
