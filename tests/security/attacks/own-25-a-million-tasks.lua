-- class: instructions/coroutine
-- expect: limit_instructions|limit_time|limit_memory
-- must_not: a million tasks, or groups within groups, run uncounted or fill the host
local list = {}
for i = 1, 1000000 do list[i] = i end
pcall(parallel.map, list, function(i) pcall(error, i) end, { concurrency = 64 })
local function nest(d)
  return parallel.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function() pcall(nest, d + 1) while true do end end)
end
for _ = 1, 1000000 do pcall(nest, 0) end
return "ESCAPED"
