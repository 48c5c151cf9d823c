-- Time and chance, which are inputs of the run: os.time is the run's clock, moved on by replies;
-- os.date knows UTC only; os.clock counts metered instructions; random numbers come of the seed.

local P = ...
local real, export = P.real, P.export
local type, error, select, tonumber = real.type, real.error, real.select, real.tonumber
local math_type, tointeger = P.math.type, P.math.tointeger
local sub, byte = P.string.sub, P.string.byte
local date, charge = P.os.date, P.charge

P.clock_ms = 0

-- --- os.time --------------------------------------------------------------------------------

local FARTHEST = 100000000 -- in any field: years, days, seconds ...

local function field(t, name, default)
  local v = t[name]
  if v == nil then
    if default == nil then error("field '" .. name .. "' missing in date table", 3) end
    return default
  end
  local n = tointeger(type(v) == "string" and tonumber(v) or v)
  if n == nil then error("field '" .. name .. "' is not an integer", 3) end
  if n > FARTHEST * 100 or n < -FARTHEST * 100 then error("field '" .. name .. "' is out-of-bound", 3) end
  return n
end

-- Days from 1970-01-01 to a day of the proleptic Gregorian calendar; month 1 to 12, any day.
local function days_to(year, month, day)
  if month <= 2 then year = year - 1 end
  local era, of_era = year // 400, year % 400
  local of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
  return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
end

export["os.time"] = function(t)
  if t == nil then return P.clock_ms // 1000 end
  if type(t) ~= "table" then return P.os.time(t) end -- for its error message
  local year, month, day = field(t, "year"), field(t, "month"), field(t, "day")
  local hour, minute, second = field(t, "hour", 12), field(t, "min", 0), field(t, "sec", 0)
  year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
  return days_to(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
end

-- --- os.date --------------------------------------------------------------------------------

export["os.date"] = function(text, t)
  text = text == nil and "%c" or text
  if type(text) ~= "string" then return date(text) end -- for its error message
  charge(#text)
  if byte(text, 1) == 33 then text = sub(text, 2) end
  return date("!" .. text, t == nil and P.clock_ms // 1000 or t)
end

-- A second of it is a hundred million instructions.
export["os.clock"] = function() return (P.usage()) / 100000000 end

export["os.difftime"] = function(a, b) return P.os.difftime(a, b) end

-- --- math -----------------------------------------------------------------------------------

for _, name in real.ipairs {
  "abs", "acos", "asin", "atan", "ceil", "cos", "deg", "exp", "floor", "fmod", "huge", "log", "max",
  "maxinteger", "min", "mininteger", "modf", "pi", "rad", "sin", "sqrt", "tan", "tointeger", "type",
  "ult", "random",
} do
  export["math." .. name] = P.math[name]
end

local seed = 0
function P.seed(n)
  seed = n
  P.math.randomseed(n, 0)
end

-- Gives nothing back: Lua's own tells an address. Without an argument the run's seed counts anew.
export["math.randomseed"] = function(...)
  if select("#", ...) == 0 then
    P.math.randomseed(seed, 0)
  else
    local a, b = ...
    P.math.randomseed(a, math_type(b) and b or 0)
  end
end
