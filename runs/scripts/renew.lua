-- RENEW: a worker's heartbeat: its own record, and the lease of each job it holds.
--
-- ARGV  worker  worker_ttl_s  lease_s  iso  queue, id, execution of each job...
-- Gives  1 if the worker is known, keys of leases that are lost, ids asked to stop.
--#include lib_room
local worker_key, lease_s, iso = 'rq:worker:' .. ARGV[1], tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now_s = tonumber(time[1])
local lost, stop = {}, {}
-- A command that came late may have left a stump of the record: only a whole one counts.
local known = redis.call('HEXISTS', worker_key, 'birth')
  * redis.call('SISMEMBER', 'rq:workers', worker_key)
if known == 1 then
  redis.call('HSET', worker_key, 'last_heartbeat', iso)
  redis.call('EXPIRE', worker_key, ARGV[2])
  redis.call('EXPIRE', worker_key .. ':executions', ARGV[2])
end
for index = 5, #ARGV, 3 do
  local queue, id, execution = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  local key = id .. ':' .. execution
  local ends = redis.call('ZSCORE', 'rq:wip:' .. queue, key)
  -- 0 and 1: its worker let it go (LET_GO). A heartbeat that was on its way takes nothing back.
  if ends and tonumber(ends) > 1 then
    redis.call('ZADD', 'rq:wip:' .. queue, now_s + lease_s, key)
    redis.call('ZADD', 'ms:leases', now_s + lease_s, queue .. '|' .. key)
    redis.call('HSET', 'rq:execution:' .. key, 'last_heartbeat',
      string.format('%d.%06d', now_s, time[2]))
    redis.call('EXPIRE', 'rq:execution:' .. key, lease_s + 60)
    redis.call('ZADD', 'rq:executions:' .. id, 'XX', now_s + lease_s + 60, execution)
    redis.call('EXPIRE', 'rq:executions:' .. id, lease_s + 60)
    if redis.call('EXISTS', 'rq:job:' .. id) == 1 then
      redis.call('HSET', 'rq:job:' .. id, 'last_heartbeat', iso)
    end
    if redis.call('EXISTS', 'ms:cancel:' .. id) == 1 then stop[#stop + 1] = id end
  else
    lost[#lost + 1] = key
  end
end
return { known, lost, stop }
