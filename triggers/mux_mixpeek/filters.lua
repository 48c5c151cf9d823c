-- Metadata filters: whether an asset passes all rules `{ field, operator, value }`.
-- `docs/mux-mixpeek.md` has the table of operators; rules were checked when the sync was made.

--- Give what a rule speaks of: the key as it stands, else what is inside, dot by dot.
local function field_of(asset, captured, name)
  for _, source in ipairs({ captured, asset }) do
    if source[name] ~= nil then
      return source[name]
    end
    local found = source
    for part in name:gmatch("[^.]+") do
      if type(found) ~= "table" then
        found = nil
        break
      end
      found = found[part]
    end
    if found ~= nil then
      return found
    end
  end
  return nil
end

--- Give a finite number, also for a text that is one as a whole; nil for all else.
local function number_of(value)
  local found
  if type(value) == "number" then
    found = value
  elseif type(value) == "string" then
    local text = value:match("^%s*(.-)%s*$")
    -- `tonumber` would take hexadecimal numbers as well.
    if not text:find("[^%d%.eE+-]") then
      found = tonumber(text)
    end
  end
  found = found and found + 0.0
  -- Neither NaN nor infinite.
  if found and found - found == 0 then
    return found
  end
  return nil
end

local function is_empty(value)
  return value == nil or value == "" or (type(value) == "table" and next(value) == nil)
end

local function contains(found, value)
  if type(found) == "string" then
    return type(value) == "string" and found:find(value, 1, true) ~= nil
  end
  if type(found) == "table" then
    for key, one in pairs(found) do
      if type(key) == "number" and one == value then
        return true
      end
    end
  end
  return false
end

--- Make the operator that compares numbers; what is no number never holds.
local function compared(holds)
  return function(found, value)
    local left, right = number_of(found), number_of(value)
    return left ~= nil and right ~= nil and holds(left, right)
  end
end

local OPERATORS = {
  equals = function(found, value) return found == value end,
  not_equals = function(found, value) return found ~= value end,
  contains = contains,
  not_contains = function(found, value) return not contains(found, value) end,
  gt = compared(function(left, right) return left > right end),
  lt = compared(function(left, right) return left < right end),
  gte = compared(function(left, right) return left >= right end),
  lte = compared(function(left, right) return left <= right end),
  exists = function(found, value)
    local wanted = value ~= false and value ~= "false"
    return is_empty(found) ~= wanted
  end,
}

local function matches(asset, captured, rules)
  for _, rule in ipairs(rules or {}) do
    local operator = OPERATORS[rule.operator]
    if not operator then
      error("unknown operator: " .. tostring(rule.operator))
    end
    if not operator(field_of(asset, captured, rule.field), rule.value) then
      return false
    end
  end
  return true
end
