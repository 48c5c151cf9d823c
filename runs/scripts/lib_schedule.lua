-- What the scripts of schedules share. A fire is begun (its run is being started), waits for the
-- run before it, or is over; each is written into the history once, when it is over.

local HISTORY = 200
local WAITING = 100
local HELD_MS = 5000

-- Writes what came of a fire: `started`, `skipped`, `missed`, `failed`. `count` fires as one.
local function tell(id, outcome, fire_ms, at_ms, run, reason, count, until_ms)
  local key = 'ms:schedule-history:' .. id
  local row = { fire_ms = tonumber(fire_ms), at_ms = tonumber(at_ms), outcome = outcome }
  if run and run ~= '' then row.run = run end
  if reason and reason ~= '' then row.reason = reason end
  if count then row.count, row.until_ms = tonumber(count), tonumber(until_ms) end
  redis.call('LPUSH', key, cjson.encode(row))
  redis.call('LTRIM', key, 0, HISTORY - 1)
  redis.call('HINCRBY', 'ms:schedule:' .. id, outcome, count or 1)
end

-- Tells whether the last fire that was begun is still being started, or its run has not ended.
local function busy(id)
  local known = redis.call('HMGET', 'ms:schedule:' .. id, 'starting', 'current')
  if known[1] then return true, nil end
  if not known[2] then return false, nil end
  local state = redis.call('HGET', 'ms:run:' .. known[2], 'state')
  return state == 'queued' or state == 'running' or state == 'waiting', known[2]
end

-- Begins a fire: whoever called has until `retry_ms` to start its run, then another tries.
local function begin(member, id, fire_ms, run, now_ms, retry_ms)
  redis.call('HSET', 'ms:schedule:' .. id, 'current', run, 'starting', fire_ms,
    'starting_ms', now_ms)
  redis.call('ZADD', 'ms:schedules-starting', retry_ms, member .. '|' .. fire_ms .. '|' .. run)
end

-- Drops all fires that wait.
local function drop_waiting(id, now_ms, reason)
  local key = 'ms:schedule-waiting:' .. id
  for _, one in ipairs(redis.call('LRANGE', key, 0, -1)) do
    local fire_ms = string.match(one, '^(%d+)|')
    tell(id, 'skipped', fire_ms, now_ms, nil, reason)
  end
  redis.call('DEL', key)
end

-- Takes no further fire of a schedule. What waited is dropped; what was begun goes on.
local function stop(member, id, state, reason, now_ms)
  redis.call('HSET', 'ms:schedule:' .. id, 'state', state, 'reason', reason)
  redis.call('HDEL', 'ms:schedule:' .. id, 'next_ms')
  redis.call('ZREM', 'ms:schedules-due', member)
  redis.call('ZREM', 'ms:schedules-held', member)
  drop_waiting(id, now_ms, state)
end
