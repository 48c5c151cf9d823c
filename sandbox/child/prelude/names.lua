-- Tables of names that answer a wrong name with an error that helps, never with nil.

local P = ...
local real = P.real
local type, pairs_over = real.type, P.snapshot
local byte, min, abs, concat = P.string.byte, P.math.min, P.math.abs, P.table.concat
local show_name, raise = P.show_name, P.raise

local LONGEST_NAME = 64
local FEW = 12

-- How many letters must be changed, added or taken away to make one name of the other.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal, letter = row[0], byte(a, i)
    row[0] = i
    for j = 1, #b do
      local cost = letter == byte(b, j) and 0 or 1
      diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + cost)
    end
  end
  return row[#b]
end

local function nearest(name, known)
  local best, best_distance = nil, #name // 3 + 2
  if #name <= LONGEST_NAME then
    for i = 1, #known do
      if abs(#known[i] - #name) < best_distance then
        local d = distance(name, known[i])
        if d < best_distance then best, best_distance = known[i], d end
      end
    end
  end
  return best
end

-- Raises `Unknown function: app.integrations.mux.list_asset. Did you mean: list_assets?`
local function unknown(kind, path, key, known)
  local name = show_name(key)
  local near = type(key) == "string" and nearest(key, known)
  local text = "Unknown " .. kind .. ": " .. path .. "." .. name .. "."
  if near then
    text = text .. " Did you mean: " .. near .. "?"
  elseif #known == 0 then
    text = text .. " None is available to this run."
  elseif #known <= FEW then
    text = text .. " Known: " .. concat(known, ", ") .. "."
  end
  raise(text)
end

-- A read-only table of the entries of `values` under `path`. `make(name)` may give a value at its
-- first use; `listed` are the names that pairs shows, `suggested` those that messages do.
function P.namespace(kind, path, values, listed, make, suggested)
  return P.lock({
    path = path,
    __index = function(_, key)
      local value = values[key]
      if value == nil and make and type(key) == "string" then
        value = make(key)
        values[key] = value
      end
      if value == nil then unknown(kind, path, key, suggested or listed) end
      return value
    end,
    __pairs = function(t)
      local i = 0
      return function()
        i = i + 1
        local name = listed[i]
        if name ~= nil then return name, t[name] end
      end, t, nil
    end,
  }, path)
end

-- A read-only table of functions.
function P.library(path, functions)
  local listed = pairs_over(functions)
  return P.namespace("function", path, functions, listed)
end
