-- How a run ends that nobody has begun to execute.
--#include lib_end

-- Does to a job that is in no queue any more what RQ's own cancel does, and forgets the deadline.
local function drop_job(queue, id, now_s)
  redis.call('ZREM', 'ms:expiring', id)
  if redis.call('EXISTS', 'rq:job:' .. id) == 1 then
    redis.call('HSET', 'rq:job:' .. id, 'status', 'canceled')
    redis.call('ZADD', 'rq:canceled:' .. queue, now_s, id)
  end
end

-- Takes a job off its queue. `count`: as of LREM, from which end to look, and for how many.
local function unqueue(queue, id, now_s, count)
  redis.call('LREM', 'rq:queue:' .. queue, count, id)
  drop_job(queue, id, now_s)
end
