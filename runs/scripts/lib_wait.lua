-- What the scripts share that let waiting runs go on, or end them.
--
-- `ms:waiting` has each waiting run by the Unix millisecond at which it goes on in any case. RQ's
-- tools see its job as scheduled for that time.

-- Forgets when a run is to go on.
local function stop_waiting(queue, id)
  redis.call('ZREM', 'ms:waiting', queue .. '|' .. id)
  redis.call('ZREM', 'rq:scheduled:' .. queue, id)
end

-- Puts a waiting run to the front of its queue, once: whoever comes second finds it `woken`.
local function wake(queue, id, iso, turn_us)
  local run, job, list = 'ms:run:' .. id, 'rq:job:' .. id, 'rq:queue:' .. queue
  stop_waiting(queue, id)
  if redis.call('HGET', run, 'state') ~= 'waiting' then return end
  if redis.call('HSETNX', run, 'woken', 1) == 0 then return end
  if redis.call('EXISTS', job) == 1 then
    redis.call('HSET', job, 'status', 'queued', 'enqueued_at', iso)
  end
  redis.call('SADD', 'rq:queues', list)
  redis.call('LPUSH', list, id)
  redis.call('ZADD', 'ms:ring', 'NX', turn_us, queue)
end
