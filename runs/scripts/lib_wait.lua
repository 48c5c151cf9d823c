-- What the scripts share that let waiting runs go on, or end them.
--
-- `ms:waiting` has each waiting run by the Unix millisecond at which it goes on in any case. RQ's
-- tools see its job as scheduled for that time.

--#include lib_ring

-- Forgets when a run is to go on.
local function stop_waiting(queue, id)
  redis.call('ZREM', 'ms:waiting', queue .. '|' .. id)
  redis.call('ZREM', 'rq:scheduled:' .. queue, id)
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
