-- class: errors/stack
-- expect: ok|error|limit_instructions|limit_memory|limit_time
-- must_not: an error in the scheduler itself, for want of stack, leaves calls in flight behind the result or hangs the run
local echo = app.integrations.demo.echo
local function both()
  return parallel.map({ 1, 2, 3 }, function(i) echo(i) if i == 2 then echo("more") end return i end)
end
-- Lua's own stack: how deep it goes, in large frames, then calls from the last ones before its end.
local filler = {}
for i = 1, 240 do filler[i] = i end
local reached = 0
local function down(n, room, ...)
  reached = reached + 1
  if n == 0 then return (function() return both() end)(table.unpack(filler, 1, room)) end
  return (down(n - 1, room, ...))
end
pcall(down, 1000000, 0, table.unpack(filler))
local depth = reached
for room = 100, 240 do pcall(down, depth - 1, room, table.unpack(filler)) end
-- C's stack: within callbacks of C functions, and within coroutines within coroutines.
local function through_c(n)
  if n == 0 then return pcall(both) end
  return (("x"):gsub("x", function() through_c(n - 1) end))
end
for n = 1, 200, 7 do pcall(through_c, n) end
for n = 150, 200 do
  pcall(function()
    local function nest(k) if k == 0 then return both() end return coroutine.wrap(nest)(k - 1) end
    return nest(n)
  end)
end
return both()
