-- THROTTLE: may a request of an account go to its vendor now? If so it is counted, in one step.
--
-- ARGV  account  bucket  each_us  burst  concurrency  lease  lease_ms  tenant  run_id  integration
--       `each_us`: microseconds between two requests of a full bucket, 0 for no rate;
--       `concurrency`: 0 for no bound. `lease_ms` 0 gives the place of `lease` back.
--       A `tenant` that is not empty may have a quota of requests to the integration, and so may
--       the key of the run.
-- Gives the microseconds to wait: 0 when it may go, -1 when all places are taken; or of a quota that
-- is used up: { whose, quota, allowed, used, 1, seconds to wait }.
--#include lib_room
--#include lib_window
local account, each, burst = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local most, lease, lease_ms = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local places, due_key = 'ms:places:' .. account, 'ms:rate:' .. account .. '/' .. ARGV[2]
if lease_ms == 0 then
  redis.call('ZREM', places, lease)
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Looks at the quotas first and counts last: what has to wait for another reason uses nothing up.
local windows, quota = {}, 'calls_per_minute.' .. ARGV[10]
for _, whose in ipairs({ 'tenant', 'key' }) do
  local holder = ARGV[8]
  if whose == 'key' and holder ~= '' then
    local key_id = redis.call('HGET', 'ms:run:' .. ARGV[9], 'key_id')
    holder = key_id and holder .. ':' .. key_id or ''
  end
  local allowed = holder ~= '' and redis.call('HGET', 'ms:terms:' .. holder, quota)
  if allowed then
    local seen = look('ms:quota:' .. holder, quota, 60, tonumber(time[1]))
    if seen.sum >= tonumber(allowed) then
      local wait_s = free_s(seen, seen.sum + 1 - allowed, tonumber(time[1]))
      return { whose, quota, tonumber(allowed), seen.sum, 1, wait_s }
    end
    windows[#windows + 1] = seen
  end
end
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
for _, seen in ipairs(windows) do count(seen, 1) end
return 0
