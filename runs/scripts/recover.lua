-- RECOVER: what becomes of a job whose worker let its lease run out, or let it go: its run goes
-- back to its queue, to be executed over its tape, or ends if it was lost too often. Only if
-- nothing has changed since the caller looked: the lease is still over, the tape no longer.
--
-- ARGV  queue  id  execution  tape length seen  how  value  iso  state  reason  tape_body
--       attempts: how often a run may be lost; 0: it ends now
--       fields of the record: name, value...
-- A lease of 0 was let go on purpose, which does not count as lost.
-- Gives 2 back in its queue, 1 ended, 0 no longer ours, -1 the tape has grown: look again.
--#include lib_room
--#include lib_end
--#include lib_requeue
local queue, id, execution = ARGV[1], ARGV[2], ARGV[3]
local key, run, job = id .. ':' .. execution, 'ms:run:' .. id, 'rq:job:' .. id
local time = redis.call('TIME')
local now_s = tonumber(time[1])
local ends = redis.call('ZSCORE', 'ms:leases', queue .. '|' .. key)
if not ends or tonumber(ends) > now_s then return 0 end
if redis.call('XLEN', 'ms:tape:' .. id) ~= tonumber(ARGV[4]) then return -1 end

local worker = redis.call('HGET', job, 'worker_name')
end_lease(queue, id, execution)

local verdict = 1
local now = redis.call('HMGET', run, 'state', 'execution')
if not now[2] or now[2] == execution then
  local again = false
  if now[1] == 'running' and redis.call('EXISTS', job) == 1 then
    local counted = tonumber(ends) > 0 and 1 or 0
    again = redis.call('HINCRBY', run, 'lost', counted) < tonumber(ARGV[11])
  end
  if again then
    back_to_queue(queue, id, ARGV[7])
    verdict = 2
  else
    -- RQ's own cleanup, which `rq info` runs, may have ended the job before us.
    if redis.call('HGET', job, 'status') == 'started' then
      end_job(queue, id, ARGV[5], ARGV[6], ARGV[7], now_s, worker, { 'execution_id', execution })
    end
    if now[1] == 'running' then
      local fields = {}
      for index = 12, #ARGV do fields[#fields + 1] = ARGV[index] end
      end_run(id, string.format('%d', now_s * 1000 + math.floor(time[2] / 1000)), ARGV[8],
        ARGV[9], ARGV[10], fields)
    end
  end
end
unpark(queue)
return verdict
