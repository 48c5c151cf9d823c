-- class: errors/objects
-- expect: ok|error|denied
-- must_not: error objects of tasks run code in the scheduler, get lost, or hide the lowest one
local echo = app.integrations.demo.echo
local function bomb() error("ESCAPED: a metamethod ran") end
local hostile = setmetatable({}, {
  __eq = bomb, __tostring = bomb, __index = bomb, __concat = bomb, __lt = bomb, __len = bomb, __call = bomb,
})
for _, object in ipairs({ hostile, 7, true, "text", coroutine.create(bomb), bomb }) do
  local ok, e = pcall(parallel.map, { 1, 2, 3, 4 }, function(i)
    echo(i)
    if i > 1 then error(i == 2 and object or "another") end
  end, { concurrency = 4 })
  if ok or not (rawequal(e, object) or type(e) == "string" and e:find("text")) then return "ESCAPED" end
end
local ok, e = pcall(parallel.all, { function() error() end, function() error("second") end })
if ok or e ~= nil then return "ESCAPED" end
local same, inner = pcall(parallel.map, { 1 }, function()
  return parallel.map({ 1, 2 }, function(i) echo(i) app.integrations.demo.fail({}) end)
end)
if same or inner.code ~= "failed" then return "ESCAPED" end
xpcall(parallel.map, function() return parallel.map({ 1, 2 }, echo) end, { 1 }, function() error(hostile) end)
parallel.map({ 1, 2 }, function() error(hostile) end)
