-- class: escape/whitelist
-- expect: error
-- must_not: a script takes an error object of ours apart and makes it run or reach something
local ok, e = pcall(app.integrations.demo.fail, {})
if type(e) ~= "table" then return "ESCAPED" end
if getmetatable(e) ~= nil and getmetatable(e) ~= false then return "ESCAPED" end
setmetatable(e, { __index = function() while true do end end })
error(e)
