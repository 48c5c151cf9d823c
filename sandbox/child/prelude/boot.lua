-- Runs first, once, before any script exists. Takes the real library functions into a table that
-- only trusted files see (P), and runs the other files of the prelude in an environment of their
-- own, where naming a global is an error. The real globals stay as they are and out of reach.

local hostcall, die, policy, names, sources = ...

local real = {}
for name, value in next, _G do real[name] = value end

local P = {
  hostcall = hostcall,
  die = die,
  real = real,
  string = real.string,
  table = real.table,
  math = real.math,
  utf8 = real.utf8,
  os = real.os,
  debug = real.debug,
  coroutine = real.coroutine,
  policy = policy,
  export = {}, -- dotted name -> what a script gets under it
}

-- Nothing but tables may have a metatable; strings keep __index, set in env.lua.
local set_type_metatable = real.debug.setmetatable
set_type_metatable(nil, nil)
set_type_metatable(true, nil)
set_type_metatable(0, nil)
set_type_metatable(real.print, nil)
set_type_metatable(real.coroutine.running(), nil)

local strict = real.setmetatable({}, {
  __index = function(_, name) real.error("the prelude names a global: " .. real.tostring(name), 2) end,
  __newindex = function(_, name) real.error("the prelude sets a global: " .. name, 2) end,
})

-- Chunk names begin with byte 1, so that meter.lua can tell our positions from a script's and
-- take them out of messages.
local at = 1
for name in real.string.gmatch(names, "[^\n]+") do
  local size = real.string.unpack("<I4", sources, at)
  local text = real.string.sub(sources, at + 4, at + 3 + size)
  at = at + 4 + size
  real.assert(real.load(text, "=\1" .. name, "t", strict))(P)
end

return P.main
