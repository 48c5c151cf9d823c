-- Counts instructions, charges and memory, and ends the process when a limit is passed.
--
-- A limit is never an error: an error can be caught, an exit cannot. The path of the hook
-- allocates nothing (its strings are constants, pinned here), because with the heap full it would
-- fail before it counted.

local P = ...
local hostcall, die = P.hostcall, P.die
local collectgarbage, type = P.real.collectgarbage, P.real.type
local byte, gsub = P.string.byte, P.string.gsub
local sethook, max = P.debug.sethook, P.math.max

local PERIOD = 1000
local COUNT, COLLECT, FLUSH = "count", "collect", "flush"
local INSTRUCTIONS, MEMORY = "instruction_limit", "memory_limit"
local NO_MEMORY = "not enough memory"
-- What a host call may allocate in the Lua heap besides its result. A memory error while lupa
-- converts a result would jump over Python's frames, so there is always room for it.
local ROOM = 65536

local spent, allowed = 0, P.math.maxinteger
local peak_kb, heap_limit = 0, P.math.maxinteger
local dirty = false

local function over()
  spent = allowed
  die(INSTRUCTIONS, spent, peak_kb, allowed)
end

-- No branch here or in `sample` may depend on the heap's size, which the hash seed changes a
-- little: the count must not. What the hook itself executes is counted by Lua like the rest, so
-- the period it is set for is that much longer.
local HOOK_COST = 16
local function hook()
  spent = spent + PERIOD
  peak_kb = max(peak_kb, collectgarbage(COUNT))
  if spent > allowed then over() end
  if dirty then
    dirty = false
    hostcall(FLUSH)
  end
end

-- Keeps the interned name of the hook's event alive: debug's C hook pushes it at every call.
P.pinned = { COUNT, COLLECT, FLUSH, INSTRUCTIONS, MEMORY, NO_MEMORY, hook }

local function charge(n)
  if n > allowed - spent then over() end
  spent = spent + n
end

-- A memory error ends the run wherever it surfaces. So does a Python exception, which only want of
-- memory outside the Lua heap can make: no script may hold one. Any other failed protected call costs a period:
-- it may have swallowed a hook that could not run for want of stack.
local function fatal(e, is_last)
  if e == NO_MEMORY or type(e) == "userdata" then
    peak_kb = max(peak_kb, collectgarbage(COUNT))
    die(MEMORY, spent, peak_kb)
  end
  if not is_last then charge(PERIOD) end
end

-- Takes the position of a prelude file out of a message.
local function clean(e)
  if type(e) == "string" and byte(e, 1) == 1 then return (gsub(e, "^\1[^:]*:%-?%d*:? ?", "")) end
  return e
end

-- Give back what a protected call gave, unless it failed for want of memory.
local function guard(ok, e, ...)
  if ok then return ok, e, ... end
  fatal(e)
  return ok, clean(e)
end

-- Makes sure that so many bytes can be allocated, or ends the run.
local function headroom(bytes)
  local need = bytes + ROOM
  if collectgarbage(COUNT) * 1024 + need > heap_limit then
    collectgarbage(COLLECT)
    local kb = collectgarbage(COUNT)
    if kb * 1024 + need > heap_limit then
      peak_kb = heap_limit / 1024
      die(MEMORY, spent, peak_kb)
    end
  end
end

-- Called where much may be allocated and freed again between two hooks.
local function sample()
  peak_kb = max(peak_kb, collectgarbage(COUNT))
end

local function flush()
  if dirty then
    dirty = false
    hostcall(FLUSH)
  end
end

-- Says how many instructions were spent, to the instruction: runs a loop whose cost is known
-- until the hook fires, so the part of a period that had passed is known.
local LOOP_COST = 3
local function settle()
  allowed = P.math.maxinteger
  local before, turns = spent, 0
  repeat turns = turns + 1 until spent ~= before
  sample()
  local exact = spent - turns * LOOP_COST
  return exact > before and exact or before, peak_kb
end

function P.begin(instructions, heap_bytes)
  spent, allowed, heap_limit, peak_kb = 0, instructions, heap_bytes, collectgarbage(COUNT)
  sethook(hook, "", PERIOD + HOOK_COST)
end

function P.hook_thread(co) sethook(co, hook, "", PERIOD + HOOK_COST) end
function P.usage() return spent, peak_kb end
function P.mark_dirty() dirty = true end

P.PERIOD = PERIOD
P.charge, P.fatal, P.guard, P.clean = charge, fatal, guard, clean
P.headroom, P.sample, P.flush, P.settle = headroom, sample, flush, settle

-- The table in which debug keeps hooks is made now, not in a run.
sethook(hook, "", PERIOD)
sethook()
spent = 0
