-- FIRE: takes the fires of a schedule that are due, all of them or none; moves it on to the next.
-- Of two schedulers one does it, the other finds another `next_ms`.
--
-- ARGV  tenant|schedule  schedule  revision  its next_ms as it was read  now_ms  retry_ms
--       the next next_ms, or empty for never  when that is due
--       missed fires: how many, or -1 for more than were counted; the first; the last
--       then for each fire that is made: its moment and its run's id
-- Gives { moment, run, moment, run... } of those that are begun and now to be started, or nil when
-- another was faster; and in front of them the run to be cancelled, or an empty string.
--#include lib_begin
--#include lib_schedule
local member, id, now_ms, retry_ms = ARGV[1], ARGV[2], ARGV[5], ARGV[6]
local schedule, waiting = 'ms:schedule:' .. id, 'ms:schedule-waiting:' .. id
local known = redis.call('HMGET', schedule, 'rev', 'next_ms', 'state', 'overlap')
if known[1] ~= ARGV[3] or known[2] ~= ARGV[4] or known[3] ~= 'active' then return nil end

local count = tonumber(ARGV[9])
if count ~= 0 then
  local reason = count < 0 and 'uncounted' or nil
  tell(id, 'missed', ARGV[10], now_ms, nil, reason, math.abs(count), ARGV[11])
end
local overlap, cancel, begun = known[4], '', {}
for index = 12, #ARGV, 2 do
  local fire_ms, run = ARGV[index], ARGV[index + 1]
  redis.call('HSET', schedule, 'last_fire_ms', fire_ms)
  local held, current = busy(id)
  held = held or redis.call('EXISTS', waiting) == 1
  if not held then
    begin(member, id, fire_ms, run, now_ms, retry_ms)
    begun[#begun + 1], begun[#begun + 2] = fire_ms, run
  elseif overlap == 'skip' then
    tell(id, 'skipped', fire_ms, now_ms, nil, 'overlap')
  elseif overlap == 'queue' and redis.call('LLEN', waiting) >= WAITING then
    tell(id, 'skipped', fire_ms, now_ms, nil, 'too_many_wait')
  else
    if overlap == 'cancel_previous' then
      drop_waiting(id, now_ms, 'superseded')
      cancel = current or cancel
    end
    redis.call('RPUSH', waiting, fire_ms .. '|' .. run)
    redis.call('ZADD', 'ms:schedules-held', 'NX', now_ms + HELD_MS, member)
  end
end
if ARGV[7] == '' then
  redis.call('HSET', schedule, 'state', 'done')
  redis.call('HDEL', schedule, 'next_ms')
  redis.call('ZREM', 'ms:schedules-due', member)
else
  redis.call('HSET', schedule, 'next_ms', ARGV[7])
  redis.call('ZADD', 'ms:schedules-due', ARGV[8], member)
end
return { cancel, unpack(begun) }
