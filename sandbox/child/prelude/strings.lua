-- The string functions. What C does in one instruction is charged by bytes: one instruction per
-- byte that a pattern looked at, one per 16 bytes copied.

local P = ...
local real, export = P.real, P.export
local type, select, error = real.type, real.select, real.error
local math_type, tointeger, min = P.math.type, P.math.tointeger, P.math.min
local string = P.string
local find, gsub, format = string.find, string.gsub, string.format -- named as messages name them
local sub, byte, unpack = string.sub, string.byte, P.table.unpack
local charge, flush, sample, tostring = P.charge, P.flush, P.sample, P.tostring

-- Not dump: byte code. The others take bytes once or numbers only.
for _, name in real.ipairs { "byte", "char", "len", "sub", "pack", "packsize", "unpack" } do
  export["string." .. name] = string[name]
end

local function charge_copy(s)
  if type(s) == "string" then charge(#s // 16) end
end

export["string.lower"] = function(s)
  charge_copy(s)
  return string.lower(s)
end

export["string.upper"] = function(s)
  charge_copy(s)
  return string.upper(s)
end

export["string.reverse"] = function(s)
  charge_copy(s)
  return string.reverse(s)
end

-- Lua 5.4 loops n times over an empty string; and more than the heap may hold is the end anyway.
local LONGEST = 1 << 30
export["string.rep"] = function(s, n, sep)
  local count = tointeger(n)
  local known = type(s) == "string" and (sep == nil or type(sep) == "string")
  if count == nil or not known then
    if count ~= nil and count > LONGEST then P.headroom(LONGEST) end
    return string.rep(s, n, sep)
  end
  local unit = #s + (sep == nil and 0 or #sep)
  if count < 1 or unit == 0 then return "" end
  if count > LONGEST // unit then P.headroom(LONGEST) end
  charge(unit * count // 16)
  P.headroom(unit * count)
  return string.rep(s, count, sep)
end

-- --- patterns -------------------------------------------------------------------------------

local SPECIALS = "[%^%$%*%+%?%.%(%)%[%]%%%-]"
local LONG_NEEDLE, DEAREST_SEARCH = 256, 1 << 31

-- Searching plain text costs up to #s * #p in C: seconds here, hours for megabytes.
local function check_plain(s, p, plain)
  if #p > LONG_NEEDLE and #s * #p > DEAREST_SEARCH and (plain or not find(p, SPECIALS)) then
    error("string.find: a text of " .. #p .. " bytes cannot be searched for in one of " .. #s, 3)
  end
end

local function start_of(s, init)
  if init == nil then return 1 end
  if init > 0 then return init end
  return init == 0 and 1 or (#s + init + 1 > 1 and #s + init + 1 or 1)
end

local function is_usual(s, p, init)
  return type(s) == "string" and type(p) == "string" and (init == nil or math_type(init) == "integer")
end

-- Charges for the bytes from where the search began to where the match ends.
local function found(s, from, first, last, ...)
  local cost = (last or #s) - from
  if cost > 0 then charge(cost) end
  if first == nil then return nil end
  return first, last, ...
end

export["string.find"] = function(s, p, init, plain)
  if not is_usual(s, p, init) then return find(s, p, init, plain) end
  check_plain(s, p, plain)
  flush()
  return found(s, start_of(s, init), find(s, p, init, plain))
end

local function captured(s, from, first, last, ...)
  local cost = (last or #s) - from
  if cost > 0 then charge(cost) end
  if first == nil then return nil end
  if select("#", ...) == 0 then return sub(s, first, last) end
  return ...
end

export["string.match"] = function(s, p, init)
  if not is_usual(s, p, init) then return string.match(s, p, init) end
  flush()
  if not find(p, "[%(%^%$%*%+%?%.%[%%%-]") then check_plain(s, p, true) end
  return captured(s, start_of(s, init), find(s, p, init))
end

-- Written over find: Lua 5.4's own gmatch does not reset its depth after an error, and the next
-- call overflows the C stack.
export["string.gmatch"] = function(s, p, init)
  if not is_usual(s, p, init) then
    string.gmatch(s, p, init) -- raises, or was given numbers
    s, p = tostring(s), tostring(p)
    init = init and P.math.tointeger(init)
  end
  if byte(p, 1) == 94 then p = "%" .. p end -- in gmatch, ^ is no anchor
  local from, last_end = start_of(s, init), nil
  local function step(first, last, ...)
    local cost = (last or #s) - from
    if cost > 0 then charge(cost) end
    if first == nil then
      from = #s + 2
      return nil
    end
    if last + 1 == last_end then -- the empty match where the last one ended
      from = first + 1
      return step(find(s, p, from))
    end
    from, last_end = last + 1, last + 1
    if select("#", ...) == 0 then return sub(s, first, last) end
    return ...
  end
  return function()
    if from > #s + 1 then return nil end
    flush()
    return step(find(s, p, from))
  end
end

local function replaced(text, count)
  charge(#text // 16)
  sample()
  return text, count
end

export["string.gsub"] = function(s, p, ...)
  if type(s) ~= "string" or type(p) ~= "string" then return gsub(s, p, ...) end
  charge(#s)
  flush()
  return replaced(gsub(s, p, ...))
end

-- --- format ---------------------------------------------------------------------------------

local function check_specifiers(f)
  for spec in string.gmatch(gsub(f, "%%%%", ""), "%%[-+ #0%d%.]*(%a)") do
    if spec == "p" then error("bad argument #1 to 'format' (%p is not available here)", 3) end
  end
end

-- %p would show an address, and %s of a table too: tables, functions and threads become text first.
export["string.format"] = function(f, ...)
  if type(f) ~= "string" then return format(f, ...) end
  local n = select("#", ...)
  charge(#f + n)
  if find(f, "p", 1, true) then check_specifiers(f) end
  local given, changed = { ... }, false
  for i = 1, n do
    local v = given[i]
    local kind = type(v)
    if kind == "string" then
      charge(#v // 16)
    elseif kind == "table" or kind == "function" or kind == "thread" then
      given[i], changed = tostring(v), true
    end
  end
  if changed then return format(f, unpack(given, 1, n)) end
  return format(f, ...)
end

-- --- utf8 -----------------------------------------------------------------------------------

for _, name in real.ipairs { "char", "charpattern", "codepoint", "codes" } do
  export["utf8." .. name] = P.utf8[name]
end

export["utf8.len"] = function(s, ...)
  if type(s) == "string" then charge(#s // 4) end
  return P.utf8.len(s, ...)
end

export["utf8.offset"] = function(s, n, ...)
  if type(s) == "string" and math_type(n) == "integer" then
    charge(min(n < 0 and n ~= P.math.mininteger and -n or P.math.abs(n) & P.math.maxinteger, #s) // 4)
  end
  return P.utf8.offset(s, n, ...)
end
