-- EXPIRE: ends queued runs that were to begin before now.
--
-- ARGV  at most so many  tape_body  error
-- Gives how many were due, those included that somebody has ended or begun meanwhile.
--#include lib_room
--#include lib_unqueue
--#include lib_ring
local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_ms = string.format('%d', now_s * 1000 + math.floor(time[2] / 1000))
local due = redis.call('ZRANGEBYSCORE', 'ms:expiring', 0, now_ms, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  redis.call('ZREM', 'ms:expiring', id)
  local found = redis.call('HMGET', 'ms:run:' .. id, 'state', 'tenant', 'priority')
  if found[1] == 'queued' then
    unqueue(queue_of(found[2], found[3]), id, now_s, 1)
    end_run(id, now_ms, 'cancelled', 'expired', ARGV[2], { 'error', ARGV[3] })
  end
end
return #due
