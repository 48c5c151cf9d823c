-- The table functions. C's own only for tables without a metatable, charged by elements; with one,
-- C would loop as long as a lying __len or __index likes, so those run as Lua and are metered.

local P = ...
local real, export = P.real, P.export
local type, select, error, rawlen = real.type, real.select, real.error, real.rawlen
local math_type, min, max = P.math.type, P.math.min, P.math.max
local MAXINTEGER = P.math.maxinteger
local table = P.table
local metatable_of, MARK = P.debug.getmetatable, P.MARK
local charge, sample = P.charge, P.sample

export["table.pack"] = table.pack

local function is_plain(t)
  local mt = metatable_of(t)
  return mt == nil or mt[MARK] ~= nil
end

local function length(t)
  local n = #t
  if math_type(n) ~= "integer" then error("object length is not an integer", 3) end
  return n
end

local function integer(v, position, name)
  local n = P.math.tointeger(v)
  if n == nil then
    error("bad argument #" .. position .. " to '" .. name .. "' (number expected, got " .. type(v) .. ")", 3)
  end
  return n
end

-- --- insert and remove ----------------------------------------------------------------------

local function insert_by_loop(t, count, pos, value)
  local n = length(t) + 1
  if count == 1 then
    t[n] = pos
    return
  end
  if count ~= 2 then error("wrong number of arguments to 'insert'", 3) end
  pos = integer(pos, 2, "insert")
  if pos < 1 or pos > n then error("bad argument #2 to 'insert' (position out of bounds)", 3) end
  for i = n, pos + 1, -1 do t[i] = t[i - 1] end
  t[pos] = value
end

export["table.insert"] = function(t, ...)
  if type(t) ~= "table" then return table.insert(t, ...) end
  local count = select("#", ...)
  if not is_plain(t) then return insert_by_loop(t, count, ...) end
  if count == 2 then
    local pos = (...)
    if math_type(pos) == "integer" then charge(max(0, min(rawlen(t) - pos, rawlen(t)))) end
  end
  return table.insert(t, ...)
end

local function remove_by_loop(t, count, pos)
  local n = length(t)
  if count == 0 then
    pos = n
  else
    pos = integer(pos, 2, "remove")
    if n + 1 ~= pos and (pos < 1 or pos > n + 1) and not (n == 0 and pos == 0) then
      error("bad argument #2 to 'remove' (position out of bounds)", 3)
    end
  end
  local value = t[pos]
  while pos < n do
    t[pos] = t[pos + 1]
    pos = pos + 1
  end
  t[pos] = nil
  return value
end

export["table.remove"] = function(t, ...)
  if type(t) ~= "table" then return table.remove(t, ...) end
  local count = select("#", ...)
  if not is_plain(t) then return remove_by_loop(t, count, ...) end
  if count > 0 then
    local pos = (...)
    if math_type(pos) == "integer" then charge(max(0, min(rawlen(t) - pos, rawlen(t)))) end
  end
  return table.remove(t, ...)
end

-- --- ranges ---------------------------------------------------------------------------------

local function span(first, last)
  if first > last then return 0 end
  local n = last - first + 1
  return n > 0 and n or MAXINTEGER
end

local function concat_by_loop(t, sep, first, last)
  first = first == nil and 1 or integer(first, 3, "concat")
  last = last == nil and length(t) or integer(last, 4, "concat")
  local parts, n = {}, 0
  for i = first, last do
    local v = t[i]
    if type(v) ~= "string" and type(v) ~= "number" then
      error("invalid value (at index " .. i .. ") in table for 'concat'", 3)
    end
    n = n + 1
    parts[n] = v
  end
  return table.concat(parts, sep)
end

export["table.concat"] = function(t, sep, first, last)
  if type(t) ~= "table" then return table.concat(t, sep, first, last) end
  if not is_plain(t) then return concat_by_loop(t, sep, first, last) end
  -- C stops at the first element that is missing.
  charge(rawlen(t))
  return table.concat(t, sep, first, last)
end

local MOST_VALUES = 100000
export["table.unpack"] = function(t, first, last)
  if last == nil then last = type(t) == "table" and #t or nil end
  if (first == nil or math_type(first) == "integer") and math_type(last) == "integer" then
    local n = span(first or 1, last)
    if n > MOST_VALUES then error("too many results to unpack: at most " .. MOST_VALUES, 2) end
    charge(n)
  end
  return table.unpack(t, first, last)
end

local function move_by_loop(from, first, last, at, into)
  if at > last or at <= first or from ~= into then
    for i = 0, last - first do into[at + i] = from[first + i] end
  else
    for i = last - first, 0, -1 do into[at + i] = from[first + i] end
  end
  return into
end

export["table.move"] = function(from, first, last, at, into)
  if into == nil then into = from end
  local usual = type(from) == "table" and type(into) == "table" and math_type(first) == "integer"
    and math_type(last) == "integer" and math_type(at) == "integer"
  if not usual then return table.move(from, first, last, at, into) end
  if is_plain(from) and is_plain(into) then
    charge(span(first, last))
    return table.move(from, first, last, at, into)
  end
  if first > last then return into end
  if first <= 0 and last >= MAXINTEGER + first then error("too many elements to move", 2) end
  if at > MAXINTEGER - (last - first + 1) + 1 then error("destination wrap around", 2) end
  return move_by_loop(from, first, last, at, into)
end

-- --- sort -----------------------------------------------------------------------------------

-- C's sort picks pivots by the clock when a partition is uneven, so it decides nothing that a
-- script could see: it sorts only strings, integers or floats (no NaN, no -0.0) without a
-- comparator, where there is one answer. All else is a merge sort: stable, and no comparator can
-- lead it astray.
local RUN = 8

local function sort_runs(items, n, less)
  for low = 1, n, RUN do
    for i = low + 1, min(low + RUN - 1, n) do
      local v, j = items[i], i - 1
      while j >= low and less(v, items[j]) do
        items[j + 1] = items[j]
        j = j - 1
      end
      items[j + 1] = v
    end
  end
end

local function merge(from, into, low, middle, high, less)
  local left, right, at = low, middle, low
  if right < high then
    local a, b = from[left], from[right]
    repeat
      if less(b, a) then
        into[at] = b
        right = right + 1
        b = from[right]
      else
        into[at] = a
        left = left + 1
        a = from[left]
      end
      at = at + 1
    until left >= middle or right >= high
  end
  if left >= middle then left, middle = right, high end
  charge(middle - left)
  table.move(from, left, middle - 1, at, into)
end

local function merge_sort(items, n, less)
  sort_runs(items, n, less)
  local spare, width = {}, RUN
  while width < n do
    for low = 1, n, 2 * width do
      merge(items, spare, low, min(low + width, n + 1), min(low + 2 * width, n + 1), less)
    end
    items, spare, width = spare, items, 2 * width
  end
  return items
end

local function ascending(a, b) return a < b end

export["table.sort"] = function(t, less)
  if type(t) ~= "table" or (less ~= nil and type(less) ~= "function") then return table.sort(t, less) end
  if not is_plain(t) then error("table.sort takes tables without a metatable only", 2) end
  local n = rawlen(t)
  if n < 2 then return end
  local items, strings, integers, floats = {}, 0, 0, 0
  for i = 1, n do
    local v = t[i]
    items[i] = v
    if type(v) == "string" then
      strings = strings + 1
    elseif math_type(v) == "integer" then
      integers = integers + 1
    elseif math_type(v) == "float" and v == v and (v ~= 0 or 1 / v > 0) then
      floats = floats + 1
    end
  end
  sample()
  if less == nil and (strings == n or integers == n or floats == n) then
    local turns, left = 1, n
    while left > 1 do turns, left = turns + 1, left // 2 end
    charge(n * turns)
    return table.sort(t)
  end
  items = merge_sort(items, n, less or ascending)
  for i = 1, n do t[i] = items[i] end
end
