-- What a scheduler has to do next: schedules that are due, fires whose run is to be started.
--
-- ARGV  now_ms  retry_ms  the most of each
-- Gives { due, starting, cancel, next_ms }: due schedules as `tenant|schedule`, fires to be started
-- as `tenant|schedule|moment|run`, runs to be cancelled as `tenant|run`; when there is more to do,
-- or an empty string.
--#include lib_begin
--#include lib_schedule
local now_ms, retry_ms, most = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local function ripe(key)
  return redis.call('ZRANGE', key, '-inf', now_ms, 'BYSCORE', 'LIMIT', 0, most)
end

local starting, cancel = ripe('ms:schedules-starting'), {}
for _, one in ipairs(starting) do redis.call('ZADD', 'ms:schedules-starting', retry_ms, one) end
for _, member in ipairs(ripe('ms:schedules-held')) do
  local tenant, id = string.match(member, '^(.-)|(.+)$')
  local waiting = 'ms:schedule-waiting:' .. id
  local held, current = busy(id)
  if not held then
    local fire_ms, run = string.match(redis.call('LPOP', waiting) or '', '^(%d+)|(.+)$')
    if fire_ms then
      begin(member, id, fire_ms, run, ARGV[1], retry_ms)
      starting[#starting + 1] = member .. '|' .. fire_ms .. '|' .. run
    end
  elseif current and redis.call('HGET', 'ms:schedule:' .. id, 'overlap') == 'cancel_previous' then
    cancel[#cancel + 1] = tenant .. '|' .. current
  end
  if redis.call('EXISTS', waiting) == 1 then
    redis.call('ZADD', 'ms:schedules-held', now_ms + HELD_MS, member)
  else
    redis.call('ZREM', 'ms:schedules-held', member)
  end
end
local soonest = ''
for _, key in ipairs({ 'ms:schedules-due', 'ms:schedules-starting', 'ms:schedules-held' }) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] and (soonest == '' or tonumber(first[2]) < tonumber(soonest)) then
    soonest = first[2]
  end
end
return { ripe('ms:schedules-due'), starting, cancel, soonest }
