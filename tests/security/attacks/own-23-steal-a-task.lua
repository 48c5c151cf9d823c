-- class: memory-safety/coroutine
-- expect: ok|error
-- must_not: a script resumes, closes or yields a task's coroutine, or one that waits for a reply in a task, and confuses the scheduler
local echo = app.integrations.demo.echo
local task, inner, seen = nil, nil, {}
local function try(co)
  if co == nil then return end
  seen[#seen + 1] = coroutine.status(co)
  local ok, why = coroutine.resume(co, "forged reply")
  if ok then error("ESCAPED: resumed") end
  if pcall(coroutine.close, co) and coroutine.status(co) ~= "dead" then error("ESCAPED: closed") end
end
local results = parallel.all({
  function()
    task = coroutine.running()
    inner = coroutine.create(function() return echo("mine"), coroutine.yield("given"), echo("again") end)
    local _, given = coroutine.resume(inner)
    local _, first, second, third = coroutine.resume(inner, "taken")
    return { given, first, second, third }
  end,
  function()
    try(task) try(inner)
    echo(1)
    try(task) try(inner)
    pcall(coroutine.wrap(function() try(task) try(inner) coroutine.yield() end))
    return "thief"
  end,
  function() return { pcall(coroutine.yield, "out") } end,
  function() return coroutine.isyieldable() end,
})
try(task)
if results[1][1] ~= "given" or results[1][2] ~= "mine" or results[1][3] ~= "taken" or results[1][4] ~= "again" then
  return "ESCAPED"
end
if results[3][1] ~= false or results[4] ~= false then return "ESCAPED" end
return table.concat(seen, " ")
