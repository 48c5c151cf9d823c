-- Sums over the last minute and the last day, for quotas.
--
-- A window has 60 steps, of a second or of 24 minutes. Counted is the step of now and the 60 before
-- it, so that no minute and no day, wherever it begins, ever holds more than its quota. All windows
-- of one holder are fields of one hash: `<name>:at` the step of the last look, `<name>:sum`,
-- `<name>:old` the oldest step with something in it, `<name>:<step>` what was counted in it, and
-- `<name>:<step>:held` how much of that is reserved by runs that have not ended.

local STEPS = 60
local KEEP_S = 90000
-- Seconds after which to ask again for what an end of some run may give back.
local SOON_S = 5

-- Gives the first step from `from` to `to` in which something was counted.
local function oldest(hash, name, from, to)
  local fields = {}
  for step = from, to do fields[#fields + 1] = name .. ':' .. step end
  for index, was in ipairs(redis.call('HMGET', hash, unpack(fields))) do
    if (tonumber(was) or 0) > 0 then return from + index - 1 end
  end
  return to
end

-- Brings a window to the present and gives it. `span_s`: 60 or 86400.
local function look(hash, name, span_s, now_s)
  local step_s = span_s / STEPS
  local known = redis.call('HMGET', hash, name .. ':at', name .. ':sum', name .. ':old')
  local now, at = math.floor(now_s / step_s), tonumber(known[1])
  local seen = { hash = hash, name = name, span_s = span_s, step_s = step_s, now = now,
    sum = tonumber(known[2]) or 0, old = tonumber(known[3]) or now }
  if not at then return seen end
  -- A clock that went back a little stands still until it is right again; one that went back far
  -- was wrong before, and nothing that it counted can be told from now.
  if now < at and at - now <= STEPS then seen.now = at end
  local out = seen.now < at and at or seen.now - STEPS - 1
  local gone = {}
  for step = at - STEPS, math.min(at, out) do gone[#gone + 1] = name .. ':' .. step end
  if #gone > 0 then
    for _, was in ipairs(redis.call('HMGET', hash, unpack(gone))) do
      seen.sum = seen.sum - (tonumber(was) or 0)
    end
    redis.call('HDEL', hash, unpack(gone))
    for index, field in ipairs(gone) do gone[index] = field .. ':held' end
    redis.call('HDEL', hash, unpack(gone))
    seen.sum = math.max(0, seen.sum)
    if seen.sum == 0 then
      seen.old = seen.now
    elseif seen.old <= out then
      seen.old = oldest(hash, name, seen.now - STEPS, seen.now)
    end
  end
  if seen.now ~= at then
    redis.call('HSET', hash, name .. ':at', seen.now, name .. ':sum', seen.sum,
      name .. ':old', seen.old)
  end
  return seen
end

-- Counts in the step of now. `held`: it is reserved, and `correct` tells what was used of it.
local function count(seen, amount, held)
  if seen.sum == 0 then seen.old = seen.now end
  seen.sum = seen.sum + amount
  local field = seen.name .. ':' .. seen.now
  redis.call('HINCRBY', seen.hash, field, amount)
  if held then redis.call('HINCRBY', seen.hash, field .. ':held', amount) end
  redis.call('HSET', seen.hash, seen.name .. ':at', seen.now, seen.name .. ':sum', seen.sum,
    seen.name .. ':old', seen.old)
  redis.call('EXPIRE', seen.hash, KEEP_S)
end

-- Puts what was used in the place of what was reserved in a step, if that is still in the window.
local function correct(hash, name, step, reserved, used)
  local field = name .. ':' .. step
  if redis.call('HEXISTS', hash, field) == 0 then return end
  redis.call('HINCRBY', hash, field .. ':held', -reserved)
  if used == reserved then return end
  redis.call('HINCRBY', hash, field, used - reserved)
  redis.call('HINCRBY', hash, name .. ':sum', used - reserved)
end

-- Gives the seconds until a step has left the window.
local function leaves_s(seen, step, now_s)
  return math.max(1, (step + STEPS + 1) * seen.step_s - now_s)
end

-- Gives the seconds until `excess` of what is counted may be free: it has left the window, at most
-- its span, or is reserved by runs that may end at any time.
local function free_s(seen, excess, now_s)
  local fields, freed, held = {}, 0, 0
  for step = seen.now - STEPS, seen.now do fields[#fields + 1] = seen.name .. ':' .. step end
  local counted = redis.call('HMGET', seen.hash, unpack(fields))
  for index, field in ipairs(fields) do fields[index] = field .. ':held' end
  for _, some in ipairs(redis.call('HMGET', seen.hash, unpack(fields))) do
    held = held + (tonumber(some) or 0)
  end
  if held >= excess then return SOON_S end
  for index, was in ipairs(counted) do
    freed = freed + (tonumber(was) or 0)
    if freed >= excess then return leaves_s(seen, seen.now - STEPS + index - 1, now_s) end
  end
  return seen.span_s + seen.step_s
end
