-- Coroutines. A Lua hook belongs to one thread, and each thread counts from the start: so every
-- coroutine gets its own hook, and a full period is charged at each create and each resume, which
-- makes short ones cost more than they can run unseen.

local P = ...
local real, export = P.real, P.export
local coroutine = P.coroutine
local type, error, next, setmetatable = real.type, real.error, real.next, real.setmetatable
local create, resume, status, close = coroutine.create, coroutine.resume, coroutine.status, coroutine.close
local charge, guard, fatal, clean, PERIOD = P.charge, P.guard, P.fatal, P.clean, P.PERIOD

for _, name in real.ipairs { "isyieldable", "running", "status", "yield" } do
  export["coroutine." .. name] = coroutine[name]
end

local MOST = 1000
local SWEEP_FEE = 1000000 -- a full collection
local alive, alive_n = setmetatable({}, { __mode = "k" }), 0

-- Counts again after a collection: coroutines that nothing holds any more are not alive.
local function sweep()
  charge(SWEEP_FEE)
  real.collectgarbage("collect")
  alive_n = 0
  for _ in next, alive do alive_n = alive_n + 1 end
  if alive_n >= MOST then P.raise("too many coroutines: " .. alive_n .. " of " .. MOST .. " allowed are alive") end
end

local function new(f)
  charge(PERIOD)
  if alive_n >= MOST then sweep() end
  local co = create(f)
  P.hook_thread(co)
  alive[co] = true
  alive_n = alive_n + 1
  return co
end

local function bury(co)
  if alive[co] and status(co) == "dead" then
    alive[co] = nil
    alive_n = alive_n - 1
  end
end

local function after_resume(co, ...)
  bury(co)
  return guard(...)
end

export["coroutine.create"] = function(f)
  if type(f) ~= "function" then return create(f) end -- for its error message
  return new(f)
end

export["coroutine.resume"] = function(co, ...)
  if type(co) ~= "thread" then return resume(co, ...) end
  charge(PERIOD)
  return after_resume(co, resume(co, ...))
end

local function pass_on(co, ok, e, ...)
  bury(co)
  if ok then return e, ... end
  fatal(e)
  error(clean(e), 0)
end

export["coroutine.wrap"] = function(f)
  if type(f) ~= "function" then return coroutine.wrap(f) end -- for its error message
  local co = new(f)
  return function(...)
    charge(PERIOD)
    return pass_on(co, resume(co, ...))
  end
end

local function after_close(co, ok, e)
  bury(co)
  if ok then return true end
  return guard(ok, e)
end

export["coroutine.close"] = function(co)
  if type(co) ~= "thread" then return close(co) end
  charge(PERIOD)
  return after_close(co, close(co))
end
