-- class: escape/whitelist
-- expect: ok|error|denied
-- must_not: odd keys reach a call, a metamethod of ours, or an unbounded message
local odd = {
  0, -1, 1.5, math.huge, true, false, "", "__index", "__newindex", "__metatable", "__pairs", "echo\0",
  "ECHO", ("x"):rep(1000000), "\xff\xfe\n\27[2J", {}, function() end, coroutine.create(function() end),
  setmetatable({}, { __tostring = function() return ("n"):rep(1000000) end }),
}
for i = 1, #odd do
  for _, t in next, { app, app.integrations, app.integrations.demo, app.integrations.demo.default, docs, json, regex } do
    local ok, e = pcall(function() return t[odd[i]] end)
    if ok then return "ESCAPED" end
    if type(e) == "string" and (#e > 4096 or e:find("\27", 1, true)) then return "ESCAPED" end
  end
end
return "contained"
