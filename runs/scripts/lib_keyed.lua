-- Where the runs of one key are, for keys that have a quota of runs at the same moment. Of these
-- runs the record has the key's id as `counted`.
--
-- `ms:queued:<tenant>:<key>` has those that are queued or wait, `ms:running:<tenant>:<key>` those
-- in the hands of workers. `ms:held:<tenant>:<key>` has, by the time of their acceptance, queued
-- ones that were first in their queue while the key was at its cap: they let others pass, and RQ's
-- tools see them as scheduled. `ms:holding` has <tenant>:<key> of each key that has some.
--#include lib_ring

local HELD_S = 366 * 86400
-- A script holds up everybody: of a key that has more than so many held, the next sweep takes some.
local RELEASED = 1000

local function queued_of_key(tenant, key_id)
  return redis.call('SCARD', 'ms:queued:' .. tenant .. ':' .. key_id)
end

-- Gives how many more runs of a key may begin; nil for as many as like.
local function room_of_key(tenant, key_id)
  local most = redis.call('HGET', 'ms:terms:' .. tenant .. ':' .. key_id, 'concurrent_runs')
  if not most then return nil end
  return tonumber(most) - redis.call('SCARD', 'ms:running:' .. tenant .. ':' .. key_id)
end

-- Sends held runs of a key back to the front of their queues, as many as may begin. Without a bound
-- none: those of the sweep before would be behind them, so `unbound` is the sweep's to say.
local function release(tenant, key_id, unbound)
  local held = 'ms:held:' .. tenant .. ':' .. key_id
  if redis.call('EXISTS', held) == 0 then return end
  local room = math.min(room_of_key(tenant, key_id) or unbound or 0, RELEASED)
  if room <= 0 then return end
  local popped = redis.call('ZPOPMIN', held, room)
  for index = #popped - 1, 1, -2 do
    local id = popped[index]
    local queue = queue_of(tenant, redis.call('HGET', 'ms:run:' .. id, 'priority'))
    redis.call('ZREM', 'rq:scheduled:' .. queue, id)
    if redis.call('EXISTS', 'rq:job:' .. id) == 1 then
      redis.call('HSET', 'rq:job:' .. id, 'status', 'queued')
    end
    push_front(queue, id)
  end
  if redis.call('EXISTS', held) == 0 then
    redis.call('SREM', 'ms:holding', tenant .. ':' .. key_id)
  end
end

-- Tells whether a run that was taken off its queue may begin; if not, it is held.
local function may_begin(queue, tenant, key_id, id, now_s)
  local room = room_of_key(tenant, key_id)
  if not room or room > 0 then return true end
  local since_ms = redis.call('HGET', 'ms:run:' .. id, 'created_ms')
  redis.call('ZADD', 'ms:held:' .. tenant .. ':' .. key_id, since_ms, id)
  redis.call('SADD', 'ms:holding', tenant .. ':' .. key_id)
  redis.call('HSET', 'rq:job:' .. id, 'status', 'scheduled')
  redis.call('ZADD', 'rq:scheduled:' .. queue, now_s + HELD_S, id)
  return false
end

-- Counts a run that is queued if its key was given a bound of runs at once after its acceptance, and
-- gives the key then.
local function begins_to_count(tenant, id)
  local key_id = redis.call('HGET', 'ms:run:' .. id, 'key_id')
  if not key_id or not room_of_key(tenant, key_id) then return nil end
  redis.call('HSET', 'ms:run:' .. id, 'counted', key_id)
  redis.call('SADD', 'ms:queued:' .. tenant .. ':' .. key_id, id)
  return key_id
end

local function enters_queue(tenant, key_id, id)
  redis.call('SADD', 'ms:queued:' .. tenant .. ':' .. key_id, id)
  if redis.call('SREM', 'ms:running:' .. tenant .. ':' .. key_id, id) == 1 then
    release(tenant, key_id)
  end
end

local function enters_worker(tenant, key_id, id)
  redis.call('SREM', 'ms:queued:' .. tenant .. ':' .. key_id, id)
  redis.call('SADD', 'ms:running:' .. tenant .. ':' .. key_id, id)
end

-- Forgets a run that has ended.
local function leaves(tenant, key_id, id)
  redis.call('SREM', 'ms:queued:' .. tenant .. ':' .. key_id, id)
  if redis.call('ZREM', 'ms:held:' .. tenant .. ':' .. key_id, id) == 1 then
    local queue = queue_of(tenant, redis.call('HGET', 'ms:run:' .. id, 'priority'))
    redis.call('ZREM', 'rq:scheduled:' .. queue, id)
  end
  if redis.call('SREM', 'ms:running:' .. tenant .. ':' .. key_id, id) == 1 then
    release(tenant, key_id)
  end
end
