-- SETTLES a fire that was begun: its run was started, or never will be, or is to be tried later.
--
-- ARGV  tenant|schedule  schedule  moment  run  now_ms
--       `started`, `failed`, `suspended` (failed, and so would all others) or `later`
--       why, or empty  when to try again, with `later`
-- Gives 1, or 0 when it was settled before or its schedule is gone.
--#include lib_begin
--#include lib_schedule
local member, id, fire_ms, run, now_ms, how = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local schedule, place = 'ms:schedule:' .. id, member .. '|' .. fire_ms .. '|' .. run
if how == 'later' then
  return redis.call('ZADD', 'ms:schedules-starting', 'XX', 'CH', ARGV[8], place)
end
if redis.call('ZREM', 'ms:schedules-starting', place) == 0 then return 0 end
if redis.call('EXISTS', schedule) == 0 then return 0 end
if redis.call('HGET', schedule, 'current') == run then
  redis.call('HDEL', schedule, 'starting', 'starting_ms')
end
if how == 'started' then
  tell(id, 'started', fire_ms, now_ms, run)
  redis.call('HSET', schedule, 'last_run', run)
else
  tell(id, 'failed', fire_ms, now_ms, nil, ARGV[7])
end
if how == 'suspended' and redis.call('HGET', schedule, 'state') == 'active' then
  stop(member, id, 'suspended', ARGV[7], now_ms)
else
  redis.call('ZADD', 'ms:schedules-held', 'XX', now_ms, member)
end
return 1
