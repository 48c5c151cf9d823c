-- What the scripts share that let waiting runs go on, or end them.
--
-- `ms:waiting` has each waiting run by the Unix millisecond at which it goes on in any case. RQ's
-- tools see its job as scheduled for that time.

--#include lib_ring

-- Forgets when a run is to go on, and writes back how long its job is kept after its end.
local function stop_waiting(queue, id)
  redis.call('ZREM', 'ms:waiting', queue .. '|' .. id)
  redis.call('ZREM', 'rq:scheduled:' .. queue, id)
  local kept = redis.call('HMGET', 'ms:run:' .. id, 'result_ttl_s', 'failure_ttl_s')
  if kept[1] and kept[2] and redis.call('EXISTS', 'rq:job:' .. id) == 1 then
    redis.call('HSET', 'rq:job:' .. id, 'result_ttl', kept[1], 'failure_ttl', kept[2])
  end
end

-- Puts a waiting run to the front of its queue, once: whoever comes second finds it `woken`.
local function wake(queue, id, iso)
  local run, job = 'ms:run:' .. id, 'rq:job:' .. id
  stop_waiting(queue, id)
  if redis.call('HGET', run, 'state') ~= 'waiting' then return end
  if redis.call('HSETNX', run, 'woken', 1) == 0 then return end
  if redis.call('EXISTS', job) == 1 then
    redis.call('HSET', job, 'status', 'queued', 'enqueued_at', iso,
      'description', "moonsand.run('" .. id .. "')")
  end
  push_front(queue, id)
end
