-- FINISH: ends what CLAIM started, if the lease still holds. If it does not, somebody else has
-- ended it: nothing is written.
--
-- ARGV  queue  id  execution  worker  how  value  iso  started  seconds
--       state (empty: the run's record is left as it is)  reason  tape_body
--       fields of the record: name, value...
-- Gives 0 lease lost, 1 done, 2 done and other RQ jobs wait for this one.
--#include lib_room
--#include lib_end
--#include lib_ring
local queue, id, execution, worker, how = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key = id .. ':' .. execution
if redis.call('ZREM', 'rq:wip:' .. queue, key) == 0 then return 0 end
redis.call('ZREM', 'ms:leases', queue .. '|' .. key)

local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_ms = string.format('%d', now_s * 1000 + math.floor(time[2] / 1000))
local worker_key = 'rq:worker:' .. worker
end_job(queue, id, how, ARGV[6], ARGV[7], now_s, worker, { 'execution_id', execution,
  'execution_started_at', ARGV[8], 'execution_ended_at',
  string.format('%d.%06d', now_s, time[2]) })
redis.call('DEL', 'rq:execution:' .. key)
redis.call('ZREM', 'rq:executions:' .. id, execution)
redis.call('SREM', worker_key .. ':executions', key)
if redis.call('EXISTS', worker_key) == 1 then
  redis.call('HINCRBY', worker_key,
    how == 'finished' and 'successful_job_count' or 'failed_job_count', 1)
  redis.call('HINCRBYFLOAT', worker_key, 'total_working_time', ARGV[9])
  if redis.call('EXISTS', worker_key .. ':executions') == 0 then
    redis.call('HSET', worker_key, 'state', 'idle')
  end
end

if ARGV[10] ~= '' then
  local now = redis.call('HMGET', 'ms:run:' .. id, 'state', 'execution')
  if now[1] == 'running' and now[2] == execution then
    local fields = {}
    for index = 13, #ARGV do fields[#fields + 1] = ARGV[index] end
    end_run(id, now_ms, ARGV[10], ARGV[11], ARGV[12], fields)
  end
end

unpark(queue)
return redis.call('EXISTS', 'rq:job:' .. id .. ':dependents') == 1 and 2 or 1
