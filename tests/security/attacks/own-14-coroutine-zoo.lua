-- class: memory-safety/coroutine
-- expect: ok|error
-- must_not: resuming, closing or yielding the wrong coroutine, or too many of them, crashes the state
local main = coroutine.running()
pcall(coroutine.resume, main)
pcall(coroutine.close, main)
pcall(coroutine.yield)
pcall(coroutine.wrap(function() coroutine.close(coroutine.running()) end))
pcall(coroutine.wrap(function() coroutine.resume(coroutine.running()) end))
local a, b
a = coroutine.create(function() coroutine.resume(b) coroutine.close(b) end)
b = coroutine.create(function() coroutine.resume(a) coroutine.close(a) coroutine.yield() end)
coroutine.resume(a)
local keep, made = {}, 0
for i = 1, 1500 do
  local ok, co = pcall(coroutine.create, function() coroutine.yield() end)
  if not ok then break end
  keep[i], made = co, i
  coroutine.resume(co)
end
if made > 1000 then return "ESCAPED" end
keep = nil
local deep = coroutine.wrap(function() local function f(n) return coroutine.wrap(f)(n + 1) end return f(1) end)
pcall(deep)
pcall(string.gsub, "x", "x", function() coroutine.yield() end)
pcall(coroutine.wrap(function() string.gsub("x", "x", coroutine.yield) end))
return "contained"
