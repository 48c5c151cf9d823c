-- class: escape/prelude-hijack
-- expect: ok|error
-- must_not: trusted code compares tables with ==, which runs a script's __eq
local ran = 0
local mt = { __eq = function() ran = ran + 1 return true end }
local a, b = setmetatable({ 1 }, mt), setmetatable({ 2 }, mt)
pcall(json.encode, { x = a })
pcall(json.encode, { [a] = 1, [b] = 2 })
pcall(app.integrations.demo.echo, { a, b })
pcall(print, { a, b, [a] = b })
local t = { [a] = 1, [b] = 2, x = 1 }
local k = nil
repeat k = next(t, k) until k == nil
pcall(next, t, setmetatable({}, mt))
for _ in pairs(t) do end
pcall(regex.gsub, "abc", "b", a)
pcall(coroutine.wrap, a)
pcall(setmetatable, a, mt)
return ran > 0 and "ESCAPED" or "contained"
