-- pairs and next in an order that does not depend on the state's hash seed, so that a run over
-- the same tape does the same. The order: positive integers ascending, other numbers ascending,
-- strings by bytes, false, true, then anything else in Lua's own order.
--
-- The number of instructions spent here depends on a table's keys alone, never on the order in
-- which Lua's own `next` gives them: each pass costs the same per key of a kind, and sorting is
-- left to C.

local P = ...
local real, export = P.real, P.export
local type, real_next, rawget, error = real.type, real.next, real.rawget, real.error
local rawequal = real.rawequal -- keys may be tables with __eq
local sort, math_type = P.table.sort, P.math.type
local metatable_of = P.debug.getmetatable
local charge = P.charge

local function append_numbers(keys, n, numbers, count)
  sort(numbers)
  for i = 1, count do
    local k = numbers[i]
    if math_type(k) == "integer" and k > 0 then
      n = n + 1
      keys[n] = k
    end
  end
  for i = 1, count do
    local k = numbers[i]
    if math_type(k) ~= "integer" or k <= 0 then
      n = n + 1
      keys[n] = k
    end
  end
  return n
end

-- All keys of a table in order, and how many.
local function snapshot(t)
  local strings, numbers, rest = {}, {}, {}
  local strings_n, numbers_n, rest_n = 0, 0, 0
  local has_false, has_true = false, false
  for k in real_next, t do
    local kind = type(k)
    if kind == "string" then
      strings_n = strings_n + 1
      strings[strings_n] = k
    elseif kind == "number" then
      numbers_n = numbers_n + 1
      numbers[numbers_n] = k
    elseif k == true then
      has_true = true
    elseif k == false then
      has_false = true
    else
      rest_n = rest_n + 1
      rest[rest_n] = k
    end
  end
  charge(strings_n + numbers_n)
  sort(strings)
  if numbers_n + rest_n == 0 and not (has_false or has_true) then return strings, strings_n end
  local keys, n = {}, 0
  if numbers_n > 0 then n = append_numbers(keys, n, numbers, numbers_n) end
  for i = 1, strings_n do keys[n + i] = strings[i] end
  n = n + strings_n
  if has_false then n, keys[n + 1] = n + 1, false end
  if has_true then n, keys[n + 1] = n + 1, true end
  for i = 1, rest_n do keys[n + i] = rest[i] end
  return keys, n + rest_n
end
P.snapshot = snapshot

-- How many elements a table has when its keys are exactly 1..n; otherwise nil.
local function sequence_length(t)
  local n = 0
  while rawget(t, n + 1) ~= nil do n = n + 1 end
  local total = 0
  for _ in real_next, t do total = total + 1 end
  if total == n then return n end
  return nil
end
P.sequence_length = sequence_length

-- --- pairs ----------------------------------------------------------------------------------

local function over_sequence(t, n)
  local i = 0
  return function()
    while i < n do
      i = i + 1
      local v = rawget(t, i)
      if v ~= nil then return i, v end
    end
    return nil
  end, t, nil
end

-- Keys that were cleared since are passed over; fields may be assigned, as in Lua's own pairs.
local function over_keys(t, keys, n)
  local i = 0
  return function()
    while i < n do
      i = i + 1
      local k = keys[i]
      local v = rawget(t, k)
      if v ~= nil then return k, v end
    end
    return nil
  end, t, nil
end

export.pairs = function(t)
  if type(t) ~= "table" then return real.pairs(t) end -- for its error message
  local mt = metatable_of(t)
  if mt ~= nil then
    local own = mt.__pairs
    if own ~= nil then
      local step, state, first = own(t)
      return step, state, first
    end
  end
  if rawget(t, 1) ~= nil then
    local n = sequence_length(t)
    if n ~= nil then return over_sequence(t, n) end
  end
  return over_keys(t, snapshot(t))
end

-- --- next -----------------------------------------------------------------------------------

-- A walk: the keys of one table, taken when `next` first met it. `at` is the key given last,
-- `first` the first key that may still stand in the table. `stale`: keys may have been added since
-- the walk was taken and its first key was given again. The last few walks are kept, so that
-- nested loops do not take keys at each step.
local KEPT = 8
local walks, ring, ring_at = {}, {}, 0

local function remember(t, keys, n, at)
  local walk = walks[t]
  if walk == nil then
    ring_at = ring_at % KEPT + 1
    if ring[ring_at] ~= nil then walks[ring[ring_at]] = nil end
    ring[ring_at] = t
  end
  walk = { keys = keys, n = n, at = at, first = 1, stale = false }
  walks[t] = walk
  return walk
end

local function advance(t, walk)
  local keys, n, at = walk.keys, walk.n, walk.at
  while at < n do
    at = at + 1
    local k = keys[at]
    local v = rawget(t, k)
    if v ~= nil then
      walk.at = at
      return k, v
    end
  end
  walks[t] = nil
  return nil
end

local function first_of(t)
  if real_next(t) == nil then
    walks[t] = nil
    return nil
  end
  local v = rawget(t, 1)
  if v ~= nil then return 1, v end
  -- Taking away the first key again and again must not take a snapshot each time.
  local walk = walks[t]
  if walk ~= nil then
    for i = walk.first, walk.n do
      local k = walk.keys[i]
      local value = rawget(t, k)
      if value ~= nil then
        walk.first, walk.stale = i, true
        return k, value
      end
    end
  end
  local keys, n = snapshot(t)
  return advance(t, remember(t, keys, n, 0))
end

-- Whether `k`, no longer in the table, came before `other`; nil if that can't be known.
local function came_before(k, other)
  local kind, other_kind = type(k), type(other)
  if kind == "string" then return other_kind ~= "number" and (other_kind ~= "string" or k < other) end
  if kind ~= "number" then return nil end
  if other_kind ~= "number" then return true end
  local positive = math_type(k) == "integer" and k > 0
  if positive ~= (math_type(other) == "integer" and other > 0) then return positive end
  return k < other
end

-- Takes the keys again and finds the place after `k`.
local function find_place(t, k)
  local keys, n = snapshot(t)
  for i = 1, n do
    local other = keys[i]
    if rawequal(other, k) then return remember(t, keys, n, i) end
    if came_before(k, other) then return remember(t, keys, n, i - 1) end
  end
  if came_before(k, k) == nil then error("invalid key to 'next'", 3) end
  return remember(t, keys, n, n)
end

-- The keys taken again, with `k` before all others.
local function begin_with(t, k)
  local keys, n = snapshot(t)
  local moved, count = { k }, 1
  for i = 1, n do
    if not rawequal(keys[i], k) then
      count = count + 1
      moved[count] = keys[i]
    end
  end
  return remember(t, moved, count, 1)
end

export.next = function(t, k)
  if type(t) ~= "table" then return real.next(t, k) end -- for its error message
  if k == nil then return first_of(t) end
  local walk = walks[t]
  if math_type(k) == "integer" and k > 0 then
    local v = rawget(t, k + 1)
    if v ~= nil then
      if walk ~= nil and walk.keys[walk.at + 1] == k + 1 then walk.at = walk.at + 1 end
      return k + 1, v
    end
  end
  if walk == nil then
    walk = find_place(t, k)
  elseif walk.stale and rawequal(walk.keys[walk.first], k) then
    walk = begin_with(t, k)
  elseif not rawequal(walk.keys[walk.at], k) then
    walk = find_place(t, k)
  end
  return advance(t, walk)
end
