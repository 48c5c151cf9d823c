-- parallel.map and parallel.all: tasks whose calls are in flight together.
--
-- A group has a list of work and some workers, coroutines that take the next piece of it when they
-- are done with one. A worker runs until it waits; then the next one does. When all wait, one reply
-- is taken, and the worker that waits for it goes on. So which worker runs next depends on the
-- script and on the order of the replies, on nothing else.
--
-- A group made within a task is driven by the scheduler that drives the task. Where that is
-- impossible, within a function of C that cannot be left (a callback of string.gsub), it gets a
-- scheduler of its own, and a call waits on the spot.

local P = ...
local real = P.real
local type, error, rawget, rawlen = real.type, real.error, real.rawget, real.rawlen
local pcall, resume, running = real.pcall, P.coroutine.resume, P.coroutine.running
local tointeger, getinfo = P.math.tointeger, P.debug.getinfo
local charge, fatal, clean, raise = P.charge, P.fatal, P.clean, P.raise
local show_name, PERIOD, WAITS, ROOM = P.show_name, P.PERIOD, P.WAITS, P.ROOM

local DEFAULT, MOST = 8, 64

-- --- queues ---------------------------------------------------------------------------------

local function queue() return { first = 1, last = 0 } end

local function push(q, item)
  local last = q.last + 1
  q.last, q[last] = last, item
end

local function pop(q)
  local first = q.first
  local item = q[first]
  if item ~= nil then q.first, q[first] = first + 1, nil end
  return item
end

-- --- workers --------------------------------------------------------------------------------

local function work(task)
  local group = task.group
  local list, fn, results, n = group.list, group.fn, group.results, group.n
  while group.failed == nil and group.next <= n do
    local i = group.next
    group.next, task.index = i + 1, i
    if fn ~= nil then
      results[i] = (fn(rawget(list, i), i))
    else
      results[i] = (rawget(list, i)())
    end
  end
end

-- The line of the script at which a coroutine failed.
local function line_in(co)
  local level = 0
  while true do
    local info = getinfo(co, level, "Sl")
    if info == nil then return nil end
    if info.source == P.script and info.currentline > 0 then return info.currentline end
    level = level + 1
  end
end

local function fail(task, e)
  local group = task.group
  if group.failed == nil or task.index < group.failed then
    group.failed, group.error = task.index, { clean(e) }
    group.line = task.co ~= nil and line_in(task.co) or nil
  end
end

local function ended(drive, task)
  local group = task.group
  if task.co ~= nil then P.forget_task(task.co) end
  group.live = group.live - 1
  if group.live == 0 and group.parent ~= nil then
    push(drive.ready, group.parent)
    group.parent = nil
  end
end

local function stepped(drive, task, ok, mark, what)
  if ok and mark == WAITS then
    if type(what) == "table" then
      what.parent = task
      push(drive.ready, what)
    elseif what == ROOM then
      push(drive.backlog, task)
    else
      P.expect(what, task)
    end
    return
  end
  if not ok then
    fatal(mark)
    fail(task, mark)
  end
  ended(drive, task)
end

local function step(drive, task)
  charge(PERIOD)
  return stepped(drive, task, resume(task.co, task))
end

-- Starts as many workers of a group as there may be and is work for.
local function start(drive, group)
  while group.failed == nil and group.next <= group.n and group.live < group.concurrency do
    local task = { group = group, drive = drive, index = group.next }
    group.live = group.live + 1
    local made, co = pcall(P.new_task, work)
    if made then
      task.co = co
      step(drive, task)
    else
      fatal(co)
      fail(task, co)
      ended(drive, task)
    end
  end
end

-- --- the scheduler --------------------------------------------------------------------------

-- Those that wait for room go first: they have waited longest.
local function turn(drive)
  local item
  if P.has_room() then item = pop(drive.backlog) end
  if item == nil then item = pop(drive.ready) end
  if item == nil then return P.receive() end
  if item.group ~= nil then return step(drive, item) end
  return start(drive, item)
end

local function is_done(group)
  return group.live == 0 and (group.failed ~= nil or group.next > group.n)
end

local function run(group)
  local drive = { ready = queue(), backlog = queue() }
  push(drive.ready, group)
  repeat turn(drive) until is_done(group)
end

-- Brings a group to its end before anything else outside of it goes on.
function P.drive(group)
  if is_done(group) then return end
  P.driving = P.driving + 1
  local before = P.driving
  local ok, e = pcall(run, group)
  P.driving = before - 1
  if not ok then
    fatal(e)
    error(e, 0)
  end
end

-- Told that the reply of a task's call is there.
function P.wake(task) push(task.drive.ready, task) end

-- --- what scripts call ----------------------------------------------------------------------

local function concurrency_of(path, options)
  if options == nil then return DEFAULT end
  if type(options) ~= "table" then raise(path .. ": options are a table like { concurrency = 8 }, not a " .. type(options)) end
  local keys, keys_n = P.snapshot(options)
  for i = 1, keys_n do
    if type(keys[i]) ~= "string" or keys[i] ~= "concurrency" then
      raise(path .. ": unknown option " .. show_name(keys[i]) .. "; known: concurrency")
    end
  end
  local given = rawget(options, "concurrency")
  if given == nil then return DEFAULT end
  local n = type(given) == "number" and tointeger(given)
  if not n or n < 1 or n > MOST then
    raise(path .. ": concurrency must be a whole number from 1 to " .. MOST .. ", not " .. show_name(given))
  end
  return n
end

local function results_of(group)
  local results, n = group.results, group.n
  for i = 1, n do
    if results[i] == nil then return P.array_with_holes(results, n) end
  end
  return P.json.array(results)
end

local function go(group)
  if group.n > 0 then P.suspend(group) end
  if group.failed == nil then return results_of(group) end
  P.failed_line, P.failed_error = group.line, group.error
  error(group.error[1], 0)
end

local function group_of(list, n, fn, concurrency)
  return { list = list, n = n, fn = fn, concurrency = concurrency, results = {}, next = 1, live = 0 }
end

local function map(list, fn, options)
  if type(list) ~= "table" then raise("parallel.map: the first argument is a list, not a " .. type(list)) end
  if type(fn) ~= "function" then raise("parallel.map: the second argument is a function, not a " .. type(fn)) end
  return go(group_of(list, rawlen(list), fn, concurrency_of("parallel.map", options)))
end

local function all(list, options)
  if type(list) ~= "table" then raise("parallel.all: a list of functions is expected, not a " .. type(list)) end
  local n = P.sequence_length(list)
  if n == nil then raise("parallel.all: a list of functions is expected, 1 to n, not a table with other keys or gaps") end
  local functions = {}
  for i = 1, n do
    functions[i] = rawget(list, i)
    if type(functions[i]) ~= "function" then
      raise("parallel.all: entry " .. i .. " is a " .. type(functions[i]) .. ", not a function")
    end
  end
  return go(group_of(functions, n, nil, concurrency_of("parallel.all", options)))
end

P.parallel = { all = all, map = map }
