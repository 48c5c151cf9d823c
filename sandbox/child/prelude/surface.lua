-- app.integrations and docs: everything by which a script reaches outside. A call leaves as JSON
-- text; its reply comes back as JSON text.

local P = ...
local real = P.real
local type, select, error, rawget = real.type, real.select, real.error, real.rawget
local unpack, concat, move = P.string.unpack, P.table.concat, P.table.move
local charge = P.charge
local quote, raise, setmetatable = P.quote, P.raise, real.setmetatable

local FEE = 10000
local MOST_ARGUMENTS = 32
local LONGEST_CALL = 1024 * 1024 - 512
local DOCS = { "list", "read", "search" }

local calls, calls_allowed = 0, 0

-- --- replies --------------------------------------------------------------------------------

local function message_of(e)
  local message = rawget(e, "message")
  return type(message) == "string" and message or "the call failed"
end

-- Metatable of the errors that failed calls raise: they read as their message.
local ERROR = {
  __metatable = false,
  __tostring = message_of,
  __concat = function(a, b) return P.tostring(a) .. P.tostring(b) end,
}
P.ERROR, P.message_of = ERROR, message_of

local function receive(path, ok, reply)
  local clock_ms = unpack(">I8", reply)
  -- One that was kept while its task could not go on may be older than the latest.
  if clock_ms > P.clock_ms then P.clock_ms = clock_ms end
  local decoded, value = P.decode(reply, 9, P.depth)
  if not decoded then raise(path .. ": the reply cannot be read: " .. value) end
  if ok then return value end
  if type(value) ~= "table" then value = {} end
  error(setmetatable(value, ERROR), 0)
end

-- --- calls ----------------------------------------------------------------------------------

local function arguments_text(path, ...)
  local n = select("#", ...)
  if n > MOST_ARGUMENTS then raise(path .. ": " .. n .. " arguments; at most " .. MOST_ARGUMENTS .. " allowed") end
  local texts, left = {}, LONGEST_CALL
  for i = 1, n do
    local text, _, what = P.encode((select(i, ...)), left, P.depth)
    if text == nil then raise(path .. ": argument " .. i .. ": " .. what) end
    texts[i] = text
    left = left - #text - 1
  end
  return concat(texts, ",")
end

local function call(path, head, ...)
  charge(FEE)
  local text = head .. arguments_text(path, ...) .. "]]"
  if calls >= calls_allowed then
    local spent, peak_kb = P.usage()
    P.die("call_limit", spent, peak_kb, calls)
  end
  calls = calls + 1
  return receive(path, P.ask(text))
end

local function function_at(path, integration, account, name, owner)
  local head = "[" .. quote(integration) .. "," .. (account and quote(account) or "null") .. ","
    .. quote(name) .. ",["
  return function(...)
    if owner ~= nil and real.rawequal((...), owner()) then raise("call " .. path .. " with '.', not with ':'") end
    return call(path, head, ...)
  end
end

-- --- app ------------------------------------------------------------------------------------

local function set_of(names)
  local set = {}
  for i = 1, #names do set[names[i]] = true end
  return set
end

local function functions_of(path, integration, account, functions, is_function, more, suggested)
  local self
  self = P.namespace("function", path, {}, functions, function(name)
    if is_function[name] then
      return function_at(path .. "." .. name, integration, account, name, function() return self end)
    end
    return more and more(name)
  end, suggested)
  return self
end

local function integration_at(name, surface)
  local path = "app.integrations." .. name
  P.table.sort(surface.functions)
  local is_function, is_account = set_of(surface.functions), set_of(surface.accounts)
  local suggested = move(surface.functions, 1, #surface.functions, 1, {})
  move(surface.accounts, 1, #surface.accounts, #suggested + 1, suggested)
  return functions_of(path, name, nil, surface.functions, is_function, function(account)
    if not is_account[account] then return nil end
    return functions_of(path .. "." .. account, name, account, surface.functions, is_function)
  end, suggested)
end

-- Gives `app` and `docs` for what this run may call.
function P.open_surface(surface, most_calls)
  calls, calls_allowed = 0, most_calls
  surface.docs = nil
  local listed = P.snapshot(surface)
  local integrations = P.namespace("integration", "app.integrations", {}, listed, function(name)
    return surface[name] and integration_at(name, surface[name])
  end)
  local docs = {}
  for i = 1, #DOCS do docs[DOCS[i]] = function_at("docs." .. DOCS[i], "docs", nil, DOCS[i]) end
  local app = P.namespace("name", "app", { integrations = integrations }, { "integrations" })
  return app, P.library("docs", docs)
end
