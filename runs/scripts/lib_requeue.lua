-- How a job leaves a worker's hands and goes back to its queue.
--#include lib_ring
--#include lib_keyed

-- Ends the lease of a job.
local function end_lease(queue, id, execution)
  local key = id .. ':' .. execution
  redis.call('ZREM', 'ms:leases', queue .. '|' .. key)
  redis.call('ZREM', 'rq:wip:' .. queue, key)
  redis.call('DEL', 'rq:execution:' .. key)
  redis.call('ZREM', 'rq:executions:' .. id, execution)
  local worker = redis.call('HGET', 'rq:job:' .. id, 'worker_name')
  if worker then redis.call('SREM', 'rq:worker:' .. worker .. ':executions', key) end
end

-- What RQ writes when a job is requeued. It waited before: it goes to the front.
local function back_to_queue(queue, id, iso)
  redis.call('ZREM', 'rq:failed:' .. queue, id)
  redis.call('HSET', 'rq:job:' .. id, 'status', 'queued', 'enqueued_at', iso, 'started_at', '',
    'ended_at', '', 'last_heartbeat', '', 'worker_name', '')
  redis.call('PERSIST', 'rq:job:' .. id)
  push_front(queue, id)
  local counted = redis.call('HGET', 'ms:run:' .. id, 'counted')
  if counted then enters_queue(tenant_of(queue), counted, id) end
end
