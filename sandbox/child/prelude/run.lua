-- Puts the script's environment together, and runs one script to its end.

local P = ...
local real = P.real
local type, error, xpcall, load, rawget = real.type, real.error, real.xpcall, real.load, real.rawget
local gmatch, match, sub, find = P.string.gmatch, P.string.match, P.string.sub, P.string.find
local gsub, unpack = P.string.gsub, P.string.unpack
local getinfo, metatable_of, select = P.debug.getinfo, P.debug.getmetatable, real.select
local hostcall, die, charge, fatal = P.hostcall, P.die, P.charge, P.fatal

-- What an uncaught error of a call ends the run as, by its code; all others: script_error.
local REFUSALS = { denied = "denied", not_granted = "denied", expired = "expired" }
local LONGEST_MESSAGE = 4096 -- the host cuts to what a frame may carry

-- --- the environment ------------------------------------------------------------------------

local env = {
  approval = P.library("approval", P.approval),
  json = P.library("json", P.json),
  parallel = P.library("parallel", P.parallel),
  regex = P.library("regex", P.regex),
}
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

-- A script whose main chunk ended in `return f()` has left the stack when f fails. If it says
-- `return` on one line only, that was it.
local source

local function returning_line()
  local line, found = 0, nil
  for text in gmatch(source .. "\n", "([^\n]*)\n") do
    line = line + 1
    if find(text, "%f[%w_]return%f[^%w_]") then
      if found then return nil end
      found = line
    end
  end
  return found
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
  local failed = P.failed_error
  if failed ~= nil and real.rawequal(failed[1], e) then failure_line = P.failed_line or failure_line end
  return e
end

local function fail(reason, message, line)
  local spent, peak_kb = P.settle()
  die(reason, spent, peak_kb, line or 0, sub(message, 1, LONGEST_MESSAGE))
end

local function failed(e)
  fatal(e, true)
  local message, line = describe(e)
  local refused = type(e) == "table" and metatable_of(e) == P.ERROR and REFUSALS[rawget(e, "code")]
  fail(refused or "script_error", message, line or failure_line or returning_line())
end

-- --- the end --------------------------------------------------------------------------------

local function finish(limits, listed, ...)
  local n = select("#", ...)
  local value = ...
  local depth = limits.depth
  if n > 1 or listed then
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

local function ended(limits, listed, ok, ...)
  if not ok then fatal((...), true) end
  P.land()
  if ok then finish(limits, listed, ...) end
  failed((...))
end

-- The name as error messages carry it: short, of letters that can't confuse them.
local function chunk_name(name)
  name = gsub(sub(name, 1, 40), "[^%w._/ -]", "_")
  return "=" .. (name == "" and "script" or name)
end

-- Takes START apart: its header as a table, script, input as JSON text.
local function take_apart(start)
  local length = unpack(">I4", start)
  local _, header = P.decode(sub(start, 5, 4 + length), 1, 8)
  local at = 5 + length
  local script = sub(start, at, at + header.script_bytes - 1)
  return header, script, sub(start, at + header.script_bytes)
end

-- Runs the script of a START payload and never returns.
function P.main(start)
  local header, script, input = take_apart(start)
  start = nil
  local limits = header.limits
  local heap_bytes = hostcall("begin", limits.cpu_ms, limits.memory_bytes, limits.output_bytes,
    limits.result_bytes, limits.reply_bytes)
  env.app, env.docs, env.mcp = P.open_surface(header.surface, limits.calls)
  P.depth, P.clock_ms, P.output_bytes = limits.depth, header.clock_ms, limits.output_bytes
  P.seed(header.seed)
  P.begin(limits.instructions, heap_bytes)
  local ok, value = P.decode(input, 1, P.depth)
  if not ok then fail("script_error", "the input is not valid JSON: " .. value) end
  env.input, input = value, nil
  P.script, source = chunk_name(header.name), script
  charge(#script // 8)
  local chunk, problem = load(script, P.script, "t", env)
  if chunk == nil then
    fatal(problem, true)
    local message, line = split(problem)
    fail("syntax_error", message, line)
  end
  ended(limits, header.listed, xpcall(chunk, handler))
end
