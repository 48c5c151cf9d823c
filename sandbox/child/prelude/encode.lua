-- Lua values to JSON text. Raw access only: no function of the script runs here, and what it says
-- in metatables counts for nothing. Text length, depth and cycles are bounded; the text bounds the
-- number of nodes too, since each takes a byte at least.

local P = ...
local real = P.real
local type, error, pcall, next = real.type, real.error, real.pcall, real.next
local rawget, rawequal, tostring = real.rawget, real.rawequal, real.tostring
local setmetatable, metatable_of = real.setmetatable, P.debug.getmetatable
local find, gsub, format = P.string.find, P.string.gsub, P.string.format
local utf8_len, concat, sort = P.utf8.len, P.table.concat, P.table.sort
local math_type, tonumber, huge = P.math.type, real.tonumber, P.math.huge
local ARRAY, charge, fatal, sample = P.ARRAY, P.charge, P.fatal, P.sample
local sequence_length, show_name = P.sequence_length, P.show_name

local FAILED = {} -- raised inside; what is wrong stands in `code` and `problem`
local LENGTH = {} -- key of an array's mark that tells how long it was, nulls included
local GROUPS = {} -- key of a regex match's mark that tells how many groups there were
local NULL = P.lock({ __index = function() return nil end, __tostring = function() return "null" end }, "json.null")
P.NULL = NULL

local parts, parts_n, size, most, deepest = nil, 0, 0, 0, 0
local path, active, quoted, code, problem = nil, nil, nil, nil, nil

-- The place of what is wrong, `.items[3].name`.
local function place(depth)
  local shown = {}
  for i = 1, depth do
    local key = path[i]
    shown[i] = math_type(key) == "integer" and "[" .. tostring(key) .. "]" or "." .. show_name(key)
  end
  return concat(shown)
end

local function fail(depth, what, kind)
  local at = depth > 8 and place(8) .. "..." or place(depth)
  code, problem = kind or "value", (at == "" and "" or "at " .. at .. ": ") .. what
  error(FAILED, 0)
end

local function put(piece)
  parts_n = parts_n + 1
  parts[parts_n] = piece
  size = size + #piece
  if size > most then fail(0, "longer than " .. most .. " bytes", "size") end
end

local ESCAPES = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t",
}
for i = 0, 31 do
  local c = P.string.char(i)
  ESCAPES[c] = ESCAPES[c] or format("\\u%04x", i)
end

-- Text in quotes, escaped; nil when it is not UTF-8.
local function quote(s)
  if not utf8_len(s) then return nil end
  if find(s, '[\0-\31"\\]') then s = gsub(s, '[\0-\31"\\]', ESCAPES) end
  return '"' .. s .. '"'
end
P.quote = quote

-- The shortest text that reads back as the same float, and reads as a float.
local function float_text(v)
  local s = format("%.15g", v)
  if tonumber(s) ~= v then
    s = format("%.16g", v)
    if tonumber(s) ~= v then s = format("%.17g", v) end
  end
  if not find(s, "[.e]") then s = s .. ".0" end
  return s
end
P.float_text = float_text

local put_value

local function put_sequence(t, n, depth)
  put("[")
  for i = 1, n do
    if i > 1 then put(",") end
    path[depth] = i
    put_value(rawget(t, i), depth)
  end
  put("]")
end

local function key_text(k, depth)
  local text = quoted[k]
  if text == nil then
    text = quote(k)
    if text == nil then fail(depth - 1, "a key is not valid UTF-8") end
    charge(#k // 16)
    text = text .. ":"
    quoted[k] = text
  end
  return text
end

local function put_object(t, keys, n, depth)
  sort(keys)
  charge(n)
  put("{")
  for i = 1, n do
    local k = keys[i]
    if i > 1 then put(",") end
    path[depth] = k
    put(key_text(k, depth))
    put_value(rawget(t, k), depth)
  end
  put("}")
end

local function put_by_keys(t, mark, depth)
  local keys, strings, integers, others = {}, 0, 0, 0
  for k in next, t do
    if type(k) == "string" then
      strings = strings + 1
      keys[strings] = k
    elseif math_type(k) == "integer" then
      integers = integers + 1
    else
      others = others + 1
    end
  end
  if others > 0 then fail(depth - 1, "a key is neither a string nor an integer") end
  if strings > 0 and integers > 0 then
    fail(depth - 1, "mixed keys: use either strings or the integers 1, 2, 3, ...")
  end
  if integers > 0 then
    fail(depth - 1, "sparse array: its " .. integers .. " integer keys are not 1 to " .. integers
      .. " (use json.null for gaps, or string keys)")
  end
  if mark and strings > 0 then fail(depth - 1, "an array has string keys") end
  if mark then put("[]") else put_object(t, keys, strings, depth) end
end

-- An array whose text had nulls: as long as it was, or longer.
local function put_with_holes(t, n, depth)
  for k in next, t do
    if math_type(k) ~= "integer" or k < 1 or k > n then n = nil break end
  end
  if n == nil then return put_by_keys(t, true, depth) end
  put_sequence(t, n, depth)
end

-- A match of a regular expression: a list from the whole match on; with named groups, an object
-- with the numbers as text.
local function put_match(t, groups, depth)
  local keys, n, named = {}, 0, {}
  for k in next, t do
    if math_type(k) ~= "integer" then named[1] = true end
    n = n + 1
    keys[n] = tostring(k)
  end
  if named[1] then
    local object = {}
    for k, v in next, t do
      if object[tostring(k)] ~= nil then fail(depth - 1, "two keys are written alike") end
      object[tostring(k)] = v
    end
    return put_object(object, keys, n, depth)
  end
  local list = {}
  for i = 0, groups do list[i + 1] = rawget(t, i) end
  put_sequence(list, groups + 1, depth)
end

local function put_table(t, depth)
  if rawequal(t, NULL) then return put("null") end -- == would run __eq
  if depth >= deepest then fail(depth, "nested deeper than " .. deepest .. " levels", "depth") end
  if active[t] then fail(depth, "a table contains itself") end
  active[t] = true
  local mark = metatable_of(t)
  local holes = mark ~= nil and mark[LENGTH]
  local n = rawget(t, 1) ~= nil and sequence_length(t)
  if mark ~= nil and mark[GROUPS] then
    put_match(t, mark[GROUPS], depth + 1)
  elseif n and (not holes or n >= holes) then
    put_sequence(t, n, depth + 1)
  elseif holes then
    put_with_holes(t, holes, depth + 1)
  else
    put_by_keys(t, mark == ARRAY, depth + 1)
  end
  active[t] = nil
end

function put_value(v, depth)
  local kind = type(v)
  if kind == "string" then
    charge(#v // 16)
    put(quote(v) or fail(depth, "a string is not valid UTF-8"))
  elseif kind == "table" then
    put_table(v, depth)
  elseif kind == "number" then
    if math_type(v) == "integer" then
      put(tostring(v))
    elseif v ~= v or v == huge or v == -huge then
      fail(depth, "NaN and infinite numbers have no JSON form")
    else
      put(float_text(v))
    end
  elseif kind == "boolean" then
    put(v and "true" or "false")
  elseif kind == "nil" then
    put("null")
  else
    fail(depth, "a " .. kind .. " has no JSON form")
  end
end

-- Encodes one value in at most `bytes` bytes, nested at most `depth` levels. Gives the text, or
-- nil, what kind of problem it is ("size", "depth" or "value"), and its description.
function P.encode(value, bytes, depth)
  parts, parts_n, size, most, deepest = {}, 0, 0, bytes, depth
  path, active, quoted, code, problem = {}, {}, {}, nil, nil
  local ok, e = pcall(put_value, value, 0)
  local pieces = parts
  parts, path, active, quoted = nil, nil, nil, nil
  if ok then
    charge(size // 16)
    P.headroom(size)
    local text = concat(pieces)
    sample()
    return text
  end
  fatal(e)
  if e == FAILED then return nil, code, problem end
  error(e, 0)
end

-- Marks a table made from a JSON array that had nulls.
function P.array_with_holes(t, n)
  return setmetatable(t, { __metatable = false, [P.MARK] = true, [LENGTH] = n })
end

-- The mark of the matches of one regular expression.
function P.match_mark(groups) return { __metatable = false, [P.MARK] = true, [GROUPS] = groups } end

function P.is_array_mark(mt) return mt == ARRAY or (mt ~= nil and mt[LENGTH] ~= nil) end

-- --- the global json ------------------------------------------------------------------------

local LONGEST_TEXT = 8 * 1024 * 1024

local json = { null = NULL }

function json.encode(...)
  if real.select("#", ...) == 0 then P.raise("json.encode: a value expected") end
  local text, _, what = P.encode((...), LONGEST_TEXT, P.depth)
  if text == nil then P.raise("json.encode: " .. what) end
  return text
end

function json.decode(s)
  if type(s) ~= "string" then P.raise("json.decode: a string expected, got " .. type(s)) end
  local ok, value = P.decode(s, 1, P.depth)
  if not ok then P.raise("json.decode: " .. value) end
  return value
end

function json.array(t)
  if t == nil then return setmetatable({}, ARRAY) end
  if type(t) ~= "table" then P.raise("json.array: a table expected, got " .. type(t)) end
  local mt = metatable_of(t)
  if mt ~= nil and not mt[P.MARK] then
    P.raise("json.array: the table has a metatable")
  end
  return setmetatable(t, ARRAY)
end

P.json = json
