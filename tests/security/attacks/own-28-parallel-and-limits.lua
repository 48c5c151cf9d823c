-- class: limits/parallel
-- expect: limit_instructions|limit_memory|limit_time|limit_output
-- must_not: tasks swallow a limit, or go on after one of them has passed it
local echo = app.integrations.demo.echo
local function swallow(i)
  echo(i)
  local ok = pcall(function()
    local t = {}
    while true do t[#t + 1] = ("x"):rep(1000) .. #t end
  end)
  print("ESCAPED", ok)
  while true do echo(i) end
end
pcall(parallel.map, { 1, 2, 3, 4, 5, 6, 7, 8 }, function(i) pcall(swallow, i) while true do end end)
return "ESCAPED"
