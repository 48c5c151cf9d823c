-- JSON text to Lua values. Scanning is left to C's find and match on captured functions; depth and
-- token length are bounded. Calls no function of the script, so its state may stand in locals.
--
-- Integers that fit 64 bits stay integers, other numbers become floats. null becomes nil: an
-- absent key, a hole in an array. Arrays carry a mark, so that an empty one is encoded as [].

local P = ...
local real = P.real
local type, tonumber, error, pcall = real.type, real.tonumber, real.error, real.pcall
local setmetatable = real.setmetatable
local byte, sub, match, find = P.string.byte, P.string.sub, P.string.match, P.string.find
local utf8_char, utf8_len, concat = P.utf8.char, P.utf8.len, P.table.concat
local ARRAY, charge, fatal, sample = P.ARRAY, P.charge, P.fatal, P.sample

local LONGEST_NUMBER = 200
local FAILED = {} -- raised inside; the message stands in `problem`

local text, deepest, problem = "", 0, nil

local function fail(at, what)
  problem = what .. " at byte " .. at
  error(FAILED, 0)
end

local ESCAPES = {
  [34] = '"', [92] = "\\", [47] = "/", [98] = "\b", [102] = "\f", [110] = "\n", [114] = "\r",
  [116] = "\t",
}

-- `at` is the place of the digits after \u. A lone surrogate becomes U+FFFD.
local function unicode_escape(at)
  local digits = match(text, "^%x%x%x%x", at)
  if digits == nil then fail(at, "malformed \\u escape") end
  local code = tonumber(digits, 16)
  if code < 0xD800 or code > 0xDFFF then return utf8_char(code), at + 4 end
  local low = code < 0xDC00 and match(text, "^\\u([dD][c-fC-F]%x%x)", at + 4)
  if not low then return "\u{FFFD}", at + 4 end
  return utf8_char(0x10000 + ((code - 0xD800) << 10) + (tonumber(low, 16) - 0xDC00)), at + 10
end

-- A string with escapes; `at` is the place after the opening quote.
local function long_string(at)
  local parts, n = {}, 0
  while true do
    local run, stop = match(text, '^([^"\\\0-\31]*)()', at)
    n = n + 1
    parts[n] = run
    local b = byte(text, stop)
    if b == 34 then return concat(parts), stop + 1 end
    if b ~= 92 then
      fail(stop, b == nil and "unfinished string" or "control character in a string")
    end
    local kind = byte(text, stop + 1)
    local piece
    if kind == 117 then
      piece, at = unicode_escape(stop + 2)
    else
      piece, at = ESCAPES[kind], stop + 2
      if piece == nil then fail(stop, "unknown escape") end
    end
    n = n + 1
    parts[n] = piece
  end
end

local function number_at(at, first)
  local token, stop = match(text, "^(-?%d+)()", at)
  if token == nil then fail(at, "unexpected character") end
  if (first == 48 or first == 45) and find(token, "^-?0%d") then fail(at, "number with a leading zero") end
  local b = byte(text, stop)
  if b == 46 or b == 101 or b == 69 then
    local fraction, after = match(text, "^(%.%d+)()", stop)
    if b == 46 and fraction == nil then fail(stop, "malformed number") end
    local exponent, last = match(text, "^([eE][+-]?%d+)()", after or stop)
    if exponent == nil and find(text, "^[eE]", after or stop) then fail(stop, "malformed number") end
    token = token .. (fraction or "") .. (exponent or "")
    stop = last or after
    if #token > LONGEST_NUMBER then fail(at, "number too long") end
    return tonumber(token), stop
  end
  if #token > LONGEST_NUMBER then fail(at, "number too long") end
  return tonumber(token), stop
end

local function skip(at)
  local b = byte(text, at)
  if b == 32 or b == 10 or b == 13 or b == 9 then
    at = match(text, "^[ \n\r\t]*()", at)
    b = byte(text, at)
  end
  return b, at
end

local value_at

local function object_at(at, depth)
  local object = {}
  local b
  b, at = skip(at)
  if b == 125 then return object, at + 1 end
  while true do
    local key, stop = match(text, '^[ \n\r\t]*"([^"\\\0-\31]*)"[ \n\r\t]*:()', at)
    if key == nil then
      b, at = skip(at)
      if b ~= 34 then fail(at, "expected a key in quotes") end
      key, at = long_string(at + 1)
      b, at = skip(at)
      if b ~= 58 then fail(at, "expected ':'") end
      stop = at + 1
    end
    object[key], at = value_at(stop, depth)
    b, at = skip(at)
    if b == 125 then return object, at + 1 end
    if b ~= 44 then fail(at, "expected ',' or '}'") end
    at = at + 1
  end
end

local function array_at(at, depth)
  local array, n, holes = {}, 0, false
  local b
  b, at = skip(at)
  if b == 93 then return setmetatable(array, ARRAY), at + 1 end
  while true do
    local v
    v, at = value_at(at, depth)
    n = n + 1
    if v == nil then holes = true else array[n] = v end
    b, at = skip(at)
    if b == 93 then
      if holes then return P.array_with_holes(array, n), at + 1 end
      return setmetatable(array, ARRAY), at + 1
    end
    if b ~= 44 then fail(at, "expected ',' or ']'") end
    at = at + 1
  end
end

function value_at(at, depth)
  local b
  b, at = skip(at)
  if b == 34 then
    local s, stop = match(text, '^([^"\\\0-\31]*)"()', at + 1)
    if s ~= nil then return s, stop end
    return long_string(at + 1)
  elseif b == 123 or b == 91 then
    if depth >= deepest then fail(at, "nested deeper than " .. deepest .. " levels") end
    if b == 123 then return object_at(at + 1, depth + 1) end
    return array_at(at + 1, depth + 1)
  elseif b == 116 and sub(text, at, at + 3) == "true" then
    return true, at + 4
  elseif b == 102 and sub(text, at, at + 4) == "false" then
    return false, at + 5
  elseif b == 110 and sub(text, at, at + 3) == "null" then
    return nil, at + 4
  elseif b == nil then
    fail(at, "unexpected end")
  end
  return number_at(at, b)
end

local function whole(at)
  local value, stop = value_at(at, 0)
  local b, last = skip(stop)
  if b ~= nil then fail(last, "text after the value") end
  return value
end

-- Decodes `source` from byte `at`, nested at most `depth` levels. Gives true and the value, or
-- false and what is wrong.
function P.decode(source, at, depth)
  charge((#source - at) // 8 + 10)
  if not utf8_len(source, at) then return false, "invalid UTF-8" end
  text, deepest, problem = source, depth, nil
  local ok, value = pcall(whole, at)
  text = ""
  sample()
  if ok then return true, value end
  fatal(value)
  if value == FAILED then return false, problem end
  error(value, 0)
end
