-- app, docs and mcp: everything by which a script reaches outside. A call leaves as JSON
-- text; its reply comes back as JSON text.

local P = ...
local real = P.real
local type, select, error, rawget = real.type, real.select, real.error, real.rawget
local unpack, match, find = P.string.unpack, P.string.match, P.string.find
local concat, move = P.table.concat, P.table.move
local charge = P.charge
local quote, raise, setmetatable = P.quote, P.raise, real.setmetatable

local FEE = 10000
local MOST_ARGUMENTS = 32
local LONGEST_NAME = 64 -- of a function that a call names
local LONGEST_CALL = 1024 * 1024 - 512
local DOCS = { "list", "read", "search" }
local MCP = { "call", "get_prompt", "prompts", "read_resource", "resources", "schema", "servers", "tools" }

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

P.call = call

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

-- The tools of an MCP server. One without functions is not trusted: whatever is called of it, the
-- host answers why.
local function server_at(name, functions)
  local path, integration = "app.mcp." .. name, "mcp." .. name
  P.table.sort(functions)
  if #functions > 0 then return functions_of(path, integration, nil, functions, set_of(functions)) end
  return P.namespace("function", path, {}, {}, function(called)
    if #called > LONGEST_NAME or find(called, "[^%w_./-]") then return nil end
    return function_at(path .. "." .. called, integration, nil, called)
  end)
end

local function servers_of(surface)
  local servers, listed = {}, {}
  for integration, seen in real.next, surface do
    local name = match(integration, "^mcp%.(.+)$")
    if name then
      servers[name] = seen.functions
      listed[#listed + 1] = name
    end
  end
  for i = 1, #listed do surface["mcp." .. listed[i]] = nil end
  P.table.sort(listed)
  return P.namespace("server", "app.mcp", {}, listed, function(name)
    return servers[name] and server_at(name, servers[name])
  end)
end

local function library_of(path, names)
  local functions = {}
  for i = 1, #names do functions[names[i]] = function_at(path .. "." .. names[i], path, nil, names[i]) end
  return P.library(path, functions)
end

-- Gives `app`, `docs` and `mcp` for what this run may call.
function P.open_surface(surface, most_calls)
  calls, calls_allowed = 0, most_calls
  surface.docs = nil
  local servers = servers_of(surface)
  local listed = P.snapshot(surface)
  local integrations = P.namespace("integration", "app.integrations", {}, listed, function(name)
    return surface[name] and integration_at(name, surface[name])
  end)
  local app = P.namespace("name", "app", { integrations = integrations, mcp = servers }, { "integrations", "mcp" })
  return app, library_of("docs", DOCS), library_of("mcp", MCP)
end
