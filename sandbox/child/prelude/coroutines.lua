-- Coroutines. A Lua hook belongs to one thread, and each thread counts from the start: so every
-- coroutine gets its own hook, and a full period is charged at each create and each resume, which
-- makes short ones cost more than they can run unseen.
--
-- A coroutine that makes a call in a parallel task yields a mark of ours. Whoever resumed it passes
-- the mark on, up to the scheduler, and meanwhile the coroutine counts as `normal`: it has not
-- yielded for the script, so the script can neither resume nor close it.

local P = ...
local real, export = P.real, P.export
local coroutine = P.coroutine
local type, error, next, setmetatable = real.type, real.error, real.next, real.setmetatable
local create, resume, status, close = coroutine.create, coroutine.resume, coroutine.status, coroutine.close
local charge, guard, fatal, clean, PERIOD = P.charge, P.guard, P.fatal, P.clean, P.PERIOD

local isyieldable, running, yield = coroutine.isyieldable, coroutine.running, coroutine.yield

export["coroutine.running"] = running

-- The mark. A function, since comparing those runs no metamethod; never seen by a script.
local function WAITS() end
P.WAITS = WAITS

local tasks = {} -- coroutines of the scheduler
local waiting = {} -- coroutines that wait for a reply, and tasks

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

-- The same for the scheduler, which gives it back with forget_task when it is dead.
function P.new_task(f)
  local co = new(f)
  tasks[co], waiting[co] = true, true
  return co
end

local function bury(co)
  if alive[co] and status(co) == "dead" then
    alive[co] = nil
    alive_n = alive_n - 1
  end
end

function P.forget_task(co)
  tasks[co], waiting[co] = nil, nil
  bury(co)
end

local function is_waiting(co) return waiting[co] and status(co) == "suspended" end

-- Waits for what a coroutine waits for, and resumes it.
local function pass_on_wait(co, what)
  waiting[co] = true
  if isyieldable() then
    yield(WAITS, what)
  else
    P.block(what)
  end
  waiting[co] = nil
  charge(PERIOD)
  return resume(co)
end

local function after_resume(co, ok, first, ...)
  if first == WAITS then return after_resume(co, pass_on_wait(co, ...)) end
  bury(co)
  return guard(ok, first, ...)
end

export["coroutine.create"] = function(f)
  if type(f) ~= "function" then return create(f) end -- for its error message
  return new(f)
end

export["coroutine.resume"] = function(co, ...)
  if type(co) ~= "thread" then return resume(co, ...) end
  charge(PERIOD)
  if is_waiting(co) then return false, "cannot resume non-suspended coroutine" end
  return after_resume(co, resume(co, ...))
end

local function pass_on(co, ok, e, ...)
  if e == WAITS then return pass_on(co, pass_on_wait(co, ...)) end
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
    if is_waiting(co) then error("cannot resume non-suspended coroutine", 2) end
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
  if is_waiting(co) then error("cannot close a normal coroutine", 2) end
  return after_close(co, close(co))
end

export["coroutine.status"] = function(...)
  if is_waiting((...)) then return "normal" end
  return status(...)
end

-- A task is the scheduler's to resume: a script has nobody to yield to from it.
export["coroutine.yield"] = function(...)
  if P.driving > 0 and tasks[running()] then
    P.raise("attempt to yield from a parallel task; yield in a coroutine made in it")
  end
  return yield(...)
end

export["coroutine.isyieldable"] = function(...)
  if P.driving > 0 and tasks[(...) or running()] then return false end
  return isyieldable(...)
end
