-- class: memory/lua-heap
-- expect: ok|error|limit_memory|limit_instructions
-- must_not: a hundred thousand arguments break print, a call, a coroutine or the end of the run
local t = {}
for i = 1, 99999 do t[i] = i end
pcall(print, table.unpack(t))
pcall(dump, table.unpack(t))
pcall(app.integrations.demo.echo, table.unpack(t))
pcall(string.format, "%d", table.unpack(t))
pcall(math.max, table.unpack(t))
pcall(string.char, table.unpack(t))
pcall(coroutine.wrap(function(...) coroutine.yield(...) return ... end), table.unpack(t))
pcall(select, "#", table.unpack(t))
pcall(error, table.unpack(t))
pcall(json.encode, table.unpack(t))
local function all(...) return pcall(all, ...) end
pcall(all, table.unpack(t))
return "contained"
