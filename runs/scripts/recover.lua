-- RECOVER: ends a job whose worker let its lease run out, if nothing has changed since the
-- caller looked: the lease is still over and the tape no longer than it was.
--
-- ARGV  queue  id  execution  tape length seen  how  value  iso  state  reason  tape_body
--       fields of the record: name, value...
-- Gives 1 done, 0 no longer ours to end, -1 the tape has grown: look again.
--#include lib_end
local queue, id, execution = ARGV[1], ARGV[2], ARGV[3]
local key, run, job = id .. ':' .. execution, 'ms:run:' .. id, 'rq:job:' .. id
local time = redis.call('TIME')
local now_s = tonumber(time[1])
local ends = redis.call('ZSCORE', 'ms:leases', queue .. '|' .. key)
if not ends or tonumber(ends) > now_s then return 0 end
if redis.call('XLEN', 'ms:tape:' .. id) ~= tonumber(ARGV[4]) then return -1 end

redis.call('ZREM', 'ms:leases', queue .. '|' .. key)
redis.call('ZREM', 'rq:wip:' .. queue, key)
redis.call('DEL', 'rq:execution:' .. key)
redis.call('ZREM', 'rq:executions:' .. id, execution)
local worker = redis.call('HGET', job, 'worker_name')
if worker then redis.call('SREM', 'rq:worker:' .. worker .. ':executions', key) end

local now = redis.call('HMGET', run, 'state', 'execution')
if not now[2] or now[2] == execution then
  -- RQ's own cleanup, which `rq info` runs, may have ended the job before us.
  if redis.call('HGET', job, 'status') == 'started' then
    end_job(queue, id, ARGV[5], ARGV[6], ARGV[7], now_s, worker, { 'execution_id', execution })
  end
  if now[1] == 'running' then
    local fields = {}
    for index = 11, #ARGV do fields[#fields + 1] = ARGV[index] end
    end_run(id, string.format('%d', now_s * 1000 + math.floor(time[2] / 1000)), ARGV[8], ARGV[9],
      ARGV[10], fields)
  end
end
if redis.call('SREM', 'ms:parked', queue) == 1 then
  redis.call('ZADD', 'ms:ring', 'NX', now_s * 1000000 + time[2], queue)
end
return 1
