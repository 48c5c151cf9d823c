-- CANCEL: a queued run ends at once, and so does a waiting one; for a running one its worker is
-- asked, by RQ's own command and by a flag that the worker sees with its next heartbeat, should the
-- command be lost.
--
-- ARGV  run_id  tenant  now_ms  now_s  iso  tape_body  error  flag_s  attempt
--       `attempt`: the one that the tape's body tells of, if the run waits
-- Gives the state found; nothing (false) when this tenant has no such run; `changed` when a waiting
-- run has gone on since its caller looked.
--#include lib_room
--#include lib_unqueue
--#include lib_wait
local run_id = ARGV[1]
local found = redis.call('HMGET', 'ms:run:' .. run_id, 'state', 'tenant', 'attempt', 'priority')
if not found[1] or found[2] ~= ARGV[2] then return false end
local job, queue = 'rq:job:' .. run_id, queue_of(ARGV[2], found[4])

if found[1] == 'waiting' and found[3] ~= ARGV[9] then return 'changed' end
if found[1] == 'queued' or found[1] == 'waiting' then
  if found[1] == 'waiting' then
    stop_waiting(queue, run_id)
    redis.call('HDEL', 'ms:run:' .. run_id, 'waits', 'woken')
  end
  unqueue(queue, run_id, ARGV[4], 0)
  end_run(run_id, ARGV[3], 'cancelled', 'cancelled', ARGV[6], { 'error', ARGV[7] })
elseif found[1] == 'running' then
  redis.call('SET', 'ms:cancel:' .. run_id, 1, 'EX', ARGV[8])
  local worker = redis.call('HGET', job, 'worker_name')
  if worker then
    redis.call('PUBLISH', 'rq:pubsub:' .. worker,
      cjson.encode({ command = 'stop-job', job_id = run_id }))
  end
end
return found[1]
