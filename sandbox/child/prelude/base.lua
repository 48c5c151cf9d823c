-- The basic functions that are not Lua's own: protected calls, metatables, tostring, errors.

local P = ...
local real, export = P.real, P.export
local type, rawget, select, error = real.type, real.rawget, real.select, real.error
local real_pcall, real_xpcall, real_tostring = real.pcall, real.xpcall, real.tostring
local real_setmetatable, metatable_of = real.setmetatable, P.debug.getmetatable
local getinfo = P.debug.getinfo
local guard, fatal, clean = P.guard, P.fatal, P.clean

for _, name in real.ipairs {
  "assert", "error", "ipairs", "rawequal", "rawget", "rawlen", "select", "tonumber", "type", "_VERSION",
} do
  export[name] = real[name]
end

-- --- errors ---------------------------------------------------------------------------------

-- Raises a message with the position of the script's innermost function. `P.script` is the
-- script's chunk name, set when it is loaded.
function P.raise(message)
  local level = 2
  while true do
    local info = getinfo(level, "Sl")
    if info == nil then error(message, 0) end
    if info.source == P.script and info.currentline > 0 then
      error(info.short_src .. ":" .. info.currentline .. ": " .. message, 0)
    end
    level = level + 1
  end
end

export.pcall = function(f, ...) return guard(real_pcall(f, ...)) end

export.xpcall = function(f, handler, ...)
  if type(handler) ~= "function" then return real.xpcall(f, handler, ...) end
  return guard(real_xpcall(f, function(e)
    fatal(e)
    return handler(clean(e))
  end, ...))
end

-- --- metatables -----------------------------------------------------------------------------

-- A script's metatable is never installed: what Lua sees is a private copy of these events. So
-- __gc, __mode and __close can't be added later, and nothing of ours stands in a script's reach.
local REFUSED = { __gc = true, __mode = true, __close = true }
local ORIGINAL = {} -- key of the private copy under which the script's own table stands
local LOCKED = {} -- key of the metatables of tables that no script may change
local MARK = {} -- key of metatables of ours that only say where a table came from
local ARRAY = { __metatable = false, [MARK] = true } -- it came from a JSON array

P.LOCKED, P.MARK, P.ARRAY = LOCKED, MARK, ARRAY

-- Copies are shared by the objects of a class; a few dozen are remembered.
local KEPT = 64
local copies, ring, at = {}, {}, 0

local function copy_raw(into, from)
  into.__index, into.__newindex = rawget(from, "__index"), rawget(from, "__newindex")
  into.__call, into.__tostring = rawget(from, "__call"), rawget(from, "__tostring")
  into.__len, into.__eq = rawget(from, "__len"), rawget(from, "__eq")
  into.__lt, into.__le = rawget(from, "__lt"), rawget(from, "__le")
  into.__concat, into.__unm = rawget(from, "__concat"), rawget(from, "__unm")
  into.__add, into.__sub = rawget(from, "__add"), rawget(from, "__sub")
  into.__mul, into.__div = rawget(from, "__mul"), rawget(from, "__div")
  into.__mod, into.__pow = rawget(from, "__mod"), rawget(from, "__pow")
  into.__idiv, into.__pairs = rawget(from, "__idiv"), rawget(from, "__pairs")
  into.__band, into.__bor = rawget(from, "__band"), rawget(from, "__bor")
  into.__bxor, into.__bnot = rawget(from, "__bxor"), rawget(from, "__bnot")
  into.__shl, into.__shr = rawget(from, "__shl"), rawget(from, "__shr")
end

-- The same where plain access is raw access, because `from` has no metatable: much faster.
local function copy_plain(into, from)
  into.__index, into.__newindex = from.__index, from.__newindex
  into.__call, into.__tostring = from.__call, from.__tostring
  into.__len, into.__eq, into.__lt, into.__le = from.__len, from.__eq, from.__lt, from.__le
  into.__concat, into.__unm, into.__pairs = from.__concat, from.__unm, from.__pairs
  into.__add, into.__sub, into.__mul, into.__div = from.__add, from.__sub, from.__mul, from.__div
  into.__mod, into.__pow, into.__idiv = from.__mod, from.__pow, from.__idiv
  into.__band, into.__bor, into.__bxor = from.__band, from.__bor, from.__bxor
  into.__bnot, into.__shl, into.__shr = from.__bnot, from.__shl, from.__shr
end

local function private_copy(mt)
  for event in real.next, REFUSED do
    if rawget(mt, event) ~= nil then
      error("the metatable field '" .. event .. "' is not available here", 3)
    end
  end
  local copy = copies[mt]
  if copy == nil then
    copy = { [ORIGINAL] = mt }
    at = at % KEPT + 1
    if ring[at] ~= nil then copies[ring[at]] = nil end
    ring[at], copies[mt] = mt, copy
  end
  if metatable_of(mt) == nil then copy_plain(copy, mt) else copy_raw(copy, mt) end
  return copy
end

export.setmetatable = function(t, mt)
  if type(t) ~= "table" or (mt ~= nil and type(mt) ~= "table") then
    return real.setmetatable(t, mt) -- for its error message
  end
  local old = metatable_of(t)
  if old ~= nil then
    local own = old[ORIGINAL]
    if old[LOCKED] or (own ~= nil and rawget(own, "__metatable") ~= nil) then
      error("cannot change a protected metatable", 2)
    end
    if old[MARK] and mt == nil then return t end
  end
  if mt == nil then return P.debug.setmetatable(t, nil) end
  return P.debug.setmetatable(t, private_copy(mt))
end

-- Tells only of tables whose metatable a script set.
export.getmetatable = function(v)
  if type(v) ~= "table" then return nil end
  local mt = metatable_of(v)
  local own = mt ~= nil and mt[ORIGINAL]
  if not own then return nil end
  local shown = rawget(own, "__metatable")
  if shown ~= nil then return shown end
  return own
end

export.rawset = function(t, k, v)
  if type(t) == "table" then
    local mt = metatable_of(t)
    if mt ~= nil and mt[LOCKED] then error("attempt to change a read-only table", 2) end
  end
  return real.rawset(t, k, v)
end

-- Makes a table that scripts can read and not change; `events` becomes its metatable.
function P.lock(events, path)
  events[LOCKED] = true
  events.__metatable = false
  events.__newindex = function(_, key)
    P.raise(path .. " is read-only: cannot set '" .. P.show_name(key) .. "'")
  end
  return real_setmetatable({}, events)
end

-- --- tostring -------------------------------------------------------------------------------

-- Never an address: a value's own __tostring, or the bare name of its type.
local function tostring(v)
  local kind = type(v)
  if kind == "string" then return v end
  if kind == "number" or kind == "boolean" or kind == "nil" then return real_tostring(v) end
  local mt = kind == "table" and metatable_of(v)
  local own = mt and mt.__tostring
  if own ~= nil and own ~= false then
    local text = own(v)
    if type(text) ~= "string" then error("'__tostring' must return a string", 2) end
    return text
  end
  return kind
end

export.tostring = function(...)
  if select("#", ...) == 0 then return real.tostring() end
  return (tostring((...)))
end
P.tostring = tostring

-- A name as a message may show it: short, one line.
function P.show_name(key)
  local text = type(key) == "string" and key or tostring(key)
  text = P.string.gsub(P.string.sub(text, 1, 64), "[%c\127-\255]", "?")
  return text
end
