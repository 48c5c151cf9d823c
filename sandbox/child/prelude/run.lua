-- Puts the script's environment together, and runs one script to its end.

local P = ...
local real = P.real
local type, error, xpcall, load, rawget = real.type, real.error, real.xpcall, real.load, real.rawget
local gmatch, match, sub = P.string.gmatch, P.string.match, P.string.sub
local getinfo, metatable_of, select = P.debug.getinfo, P.debug.getmetatable, real.select
local hostcall, die, charge, fatal = P.hostcall, P.die, P.charge, P.fatal

local REFUSALS = { denied = true, not_granted = true }
local LONGEST_MESSAGE = 4096 -- the host cuts to what a frame may carry

-- --- the environment ------------------------------------------------------------------------

local json, regex = P.library("json", P.json), P.library("regex", P.regex)
local env = { json = json, regex = regex }
env._G = env

-- The policy names every member; one that has no function here, or a function it does not name,
-- is a mistake that must not reach a script.
for name in gmatch(P.policy, "[^\n]+") do
  local value = P.export[name]
  if value == nil then error("the policy names " .. name .. ", which the prelude does not make") end
  P.export[name] = nil
  local library, member = match(name, "^(%w+)%.(%w+)$")
  if library then
    env[library] = env[library] or {}
    env[library][member] = value
  else
    env[name] = value
  end
end
local extra = real.next(P.export)
if extra ~= nil then error("the prelude makes " .. extra .. ", which the policy does not name") end

-- Methods of strings are the script's own string table; nothing trusted uses methods. Arithmetic
-- on strings is dropped with the rest of the metatable.
P.debug.setmetatable("", { __index = env.string, __metatable = false })

-- --- errors ---------------------------------------------------------------------------------

-- The line of the script's innermost function on the stack.
local function script_line()
  local level = 2
  while true do
    local info = getinfo(level, "Sl")
    if info == nil then return nil end
    if info.source == P.script and info.currentline > 0 then return info.currentline end
    level = level + 1
  end
end

-- Splits "name:LINE: message" of this script.
local function split(message)
  local prefix = sub(P.script, 2) .. ":"
  if sub(message, 1, #prefix) ~= prefix then return message, nil end
  local line, rest = match(message, "^(%d+): (.*)$", #prefix + 1)
  if line == nil then return message, nil end
  return rest, real.tonumber(line)
end

-- What an uncaught error says, without running anything of the script.
local function describe(e)
  if type(e) == "string" then return split(P.clean(e)) end
  if type(e) == "table" then
    if metatable_of(e) == P.ERROR then return P.message_of(e) end
    local message = rawget(e, "message")
    if type(message) == "string" then return split(message) end
    return "error object " .. P.show_raw(e)
  end
  if type(e) == "number" then return real.tostring(e) end
  return "error object: " .. type(e)
end

local failure_line

local function handler(e)
  failure_line = script_line()
  return e
end

local function fail(reason, message, line)
  local spent, peak_kb = P.settle()
  die(reason, spent, peak_kb, line or 0, sub(message, 1, LONGEST_MESSAGE))
end

local function failed(e)
  fatal(e)
  local message, line = describe(e)
  local refused = type(e) == "table" and metatable_of(e) == P.ERROR and REFUSALS[rawget(e, "code")]
  fail(refused and "denied" or "script_error", message, line or failure_line)
end

-- --- the end --------------------------------------------------------------------------------

local function finish(limits, ...)
  local n = select("#", ...)
  local value = ...
  local depth = limits.depth
  if n > 1 then
    value, depth = P.json.array({ ... }), depth + 1
    for i = 1, n do
      if value[i] == nil then value[i] = P.NULL end
    end
  end
  local text, kind, what = P.encode(value, limits.result_bytes, depth)
  if text == nil then
    if kind == "size" then
      local spent, peak_kb = P.usage()
      die("result_limit", spent, peak_kb)
    end
    fail("invalid_result", "the result cannot be given as JSON: " .. what)
  end
  hostcall("done", text, P.settle())
end

local function ended(limits, ok, ...)
  if ok then finish(limits, ...) end
  failed((...))
end

-- Runs the script and never returns. Script, input, surface and limits are text; the rest numbers.
function P.main(script, name, input, surface, heap_bytes, limits_text, seed, clock_ms)
  hostcall("begin")
  local _, limits = P.decode(limits_text, 1, 8)
  local _, known = P.decode(surface, 1, 8)
  env.app, env.docs = P.open_surface(known, limits.calls)
  P.depth, P.clock_ms = limits.depth, clock_ms
  P.seed(seed)
  P.begin(limits.instructions, heap_bytes)
  local ok, value = P.decode(input, 1, P.depth)
  if not ok then fail("script_error", "the input is not valid JSON: " .. value) end
  env.input = value
  P.script = "=" .. name
  charge(#script // 8)
  local chunk, problem = load(script, P.script, "t", env)
  if chunk == nil then
    fatal(problem)
    local message, line = split(problem)
    fail("syntax_error", message, line)
  end
  ended(limits, xpcall(chunk, handler))
end
