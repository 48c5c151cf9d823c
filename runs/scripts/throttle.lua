-- THROTTLE: may a request of an account go to its vendor now? If so it is counted, in one step.
--
-- ARGV  account  bucket  each_us  burst  concurrency  lease  lease_ms
--       `each_us`: microseconds between two requests of a full bucket, 0 for no rate;
--       `concurrency`: 0 for no bound. `lease_ms` 0 gives the place of `lease` back.
-- Gives the microseconds to wait: 0 when it may go, -1 when all places are taken.
--#include lib_room
local account, each, burst = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local most, lease, lease_ms = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local places, due_key = 'ms:places:' .. account, 'ms:rate:' .. account .. '/' .. ARGV[2]
if lease_ms == 0 then
  redis.call('ZREM', places, lease)
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if most > 0 then
  redis.call('ZREMRANGEBYSCORE', places, '-inf', now)
  if redis.call('ZCARD', places) >= most and not redis.call('ZSCORE', places, lease) then
    return -1
  end
end
if each > 0 then
  local due = math.max(tonumber(redis.call('GET', due_key) or 0), now)
  local wait = due - now - each * (burst - 1)
  if wait > 0 then return math.ceil(wait) end
  redis.call('SET', due_key, string.format('%.0f', due + each), 'PX',
    math.ceil((due + each - now) / 1000) + 1000)
end
if most > 0 then
  redis.call('ZADD', places, string.format('%.0f', now + lease_ms * 1000), lease)
  redis.call('PEXPIRE', places, math.max(lease_ms + 1000, redis.call('PTTL', places)))
end
return 0
