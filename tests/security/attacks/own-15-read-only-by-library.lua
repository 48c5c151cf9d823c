-- class: escape/api-tamper
-- expect: ok|denied|error
-- must_not: library functions written in C change a read-only table past its metatable
local tables = { app, app.integrations, app.integrations.demo, json, regex, docs, json.null }
local evil = function() return "hijacked" end
for _, t in next, tables do
  pcall(rawset, t, "echo", evil)
  pcall(table.insert, t, evil)
  pcall(table.insert, t, 1, evil)
  pcall(table.move, { evil }, 1, 1, 1, t)
  pcall(table.sort, t, evil)
  pcall(table.remove, t)
  pcall(setmetatable, t, { __index = evil })
  pcall(json.array, t)
  pcall(function() t[1] = evil end)
  pcall(function() t.encode = evil end)
  if rawlen(t) > 0 or rawget(t, 1) or rawget(t, "echo") then return "ESCAPED" end
  if type(getmetatable(t)) == "table" then return "ESCAPED" end
end
local ok, r = pcall(app.integrations.demo.echo, "x")
return (r == "hijacked" or json.encode(1) ~= "1") and "ESCAPED" or "contained"
