-- print and dump: values as text for people. Tables are shown like JSON, bounded and in the fixed
-- order of keys; only a table's own __tostring runs, at the top.

local P = ...
local real, export = P.real, P.export
local type, select, tostring = real.type, real.select, P.tostring
local real_tostring, metatable_of, rawget = real.tostring, P.debug.getmetatable, real.rawget
local math_type, huge = P.math.type, P.math.huge
local format, gsub, find, sub = P.string.format, P.string.gsub, P.string.find, P.string.sub
local rep, concat = P.string.rep, P.table.concat
local charge, headroom, snapshot = P.charge, P.headroom, P.snapshot
local sequence_length, quote, float_text = P.sequence_length, P.quote, P.float_text

local MOST_VALUES = 200
local LONGEST, DEEPEST, LINE = 65536, 16, 80
local FEE = 50

local function text_of(s)
  return quote(s) or '"' .. gsub(s, '["\\\0-\31\128-\255]', function(c)
    return format("\\x%02x", P.string.byte(c))
  end) .. '"'
end

local show

local function scalar(v)
  local kind = type(v)
  if kind == "string" then
    charge(#v // 16)
    return text_of(v)
  end
  if math_type(v) == "float" and v == v and v ~= huge and v ~= -huge then return float_text(v) end
  if kind == "number" or kind == "boolean" then return real_tostring(v) end
  if kind == "nil" then return "null" end
  return "<" .. kind .. ">"
end

local function key_text(k)
  if type(k) == "string" then return text_of(k) end
  return "[" .. (type(k) == "table" and "<table>" or scalar(k)) .. "]"
end

-- Puts pieces on one line when they fit, else each on its own.
local function wrap(pieces, open, close, level)
  local width = 0
  for i = 1, #pieces do
    width = width + #pieces[i] + 2
    if find(pieces[i], "\n", 1, true) then width = LINE + 1 end
  end
  if width <= LINE - 2 * level then return open .. concat(pieces, ", ") .. close end
  local pad = "\n" .. rep("  ", level + 1)
  return open .. pad .. concat(pieces, "," .. pad) .. "\n" .. rep("  ", level) .. close
end

local function entries(t, state, level)
  local pieces, left = {}, nil
  local n = rawget(t, 1) ~= nil and sequence_length(t)
  local keys
  if not n then keys, n = snapshot(t) end
  for i = 1, n do
    if state.bytes > LONGEST then
      left = n - i + 1
      break
    end
    local k = keys and keys[i]
    local shown = show(rawget(t, keys and k or i), state, level + 1)
    if keys then shown = key_text(k) .. ": " .. shown end
    pieces[i] = shown
    state.bytes = state.bytes + #shown + 2
  end
  if left then pieces[#pieces + 1] = "... " .. real_tostring(left) .. " more" end
  return pieces, keys ~= nil
end

function show(v, state, level)
  if type(v) ~= "table" then return scalar(v) end
  if real.rawequal(v, P.NULL) then return "null" end
  if state.active[v] then return "<cycle>" end
  if level >= DEEPEST then return "<nested deeper>" end
  local mt = metatable_of(v)
  if mt ~= nil and mt[P.LOCKED] then return "<" .. (mt.path or "table") .. ">" end
  state.active[v] = true
  local pieces, is_object = entries(v, state, level)
  state.active[v] = nil
  if #pieces == 0 then return P.is_array_mark(mt) and "[]" or "{}" end
  if is_object then return wrap(pieces, "{", "}", level) end
  return wrap(pieces, "[", "]", level)
end

local function show_top(v)
  if type(v) ~= "table" then return tostring(v) end
  local mt = metatable_of(v)
  if mt ~= nil and mt.__tostring ~= nil then return tostring(v) end
  return show(v, { active = {}, bytes = 0 }, 0)
end

-- A value's text without running anything of the script, for errors.
function P.show_raw(v)
  return sub(show(v, { active = {}, bytes = LONGEST - 2000 }, 0), 1, 2000)
end

local written = 0

local function write(text)
  charge(FEE + #text // 16)
  headroom(0)
  P.mark_dirty()
  P.hostcall("print", text)
  written = written + #text
  if written > P.output_bytes then
    local spent, peak_kb = P.usage()
    P.die("output_limit", spent, peak_kb)
  end
end

export.print = function(...)
  local n = select("#", ...)
  if n > MOST_VALUES then P.raise("print takes at most " .. MOST_VALUES .. " values, got " .. n) end
  if n == 1 then
    local s = show_top((...))
    return write(s .. "\n")
  end
  local shown = { ... }
  for i = 1, n do shown[i] = show_top(shown[i]) end
  write(concat(shown, "\t") .. "\n")
end

export.dump = function(...)
  local n = select("#", ...)
  if n > MOST_VALUES then P.raise("dump takes at most " .. MOST_VALUES .. " values, got " .. n) end
  local given = { ... }
  for i = 1, n do
    local v = given[i]
    write((type(v) == "string" and scalar(v) or show_top(v)) .. "\n")
  end
  return ...
end
