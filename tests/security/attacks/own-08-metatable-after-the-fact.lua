-- class: memory-safety/gc
-- expect: ok|error
-- must_not: __gc, __mode or __close reach the live metatable after setmetatable checked it
local mt = { __index = {} }
local t = setmetatable({}, mt)
local ran = false
mt.__gc = function() ran = true end
mt.__mode = "kv"
mt.__close = function() ran = true end
pcall(rawset, mt, "__gc", mt.__gc)
pcall(setmetatable, t, mt)
local seen = getmetatable(t)
if seen then pcall(rawset, seen, "__gc", function() ran = true end) end
pcall(function() local x <close> = t end)
t = nil
for i = 1, 200000 do local junk = { i } end
local sneaky = setmetatable({}, { __index = function(_, k) if k == "__gc" then return function() ran = true end end end })
pcall(setmetatable, {}, sneaky)
for i = 1, 200000 do local junk = { i } end
return ran and "ESCAPED" or "contained"
