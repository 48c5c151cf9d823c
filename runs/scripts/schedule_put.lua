-- Makes a schedule, or changes it if nobody else has, and it has not fired, since it was read.
--
-- ARGV  tenant  schedule  revision as it was read, 0 for a new one  now_ms
--       next_ms, or empty when it does not fire  when that is due
--       how often a minute it fires at the most  the most schedules  the most fires a minute
--       its next_ms as it was read, or empty  the ledger's leaf
--       then fields and values of the record
-- Gives 1 done, 0 changed by another, fired or gone, -1 too many schedules, -2 they fire too often.
--#include lib_begin
--#include lib_schedule
local tenant, id, now_ms, rate = ARGV[1], ARGV[2], ARGV[4], tonumber(ARGV[7])
local schedule, member = 'ms:schedule:' .. id, tenant .. '|' .. id
local index, rates = 'ms:schedules:' .. tenant, 'ms:schedules-rate:' .. tenant
local known = redis.call('HMGET', schedule, 'rev', 'rate', 'tenant', 'next_ms')
if (known[1] or '0') ~= ARGV[3] or (known[1] and known[3] ~= tenant) then return 0 end
-- A moment that was fired meanwhile must not be the next one again.
if (known[4] or '') ~= ARGV[10] then return 0 end
if not known[1] and redis.call('ZCARD', index) >= tonumber(ARGV[8]) then return -1 end
local more = rate - tonumber(known[2] or 0)
if more > 0 and tonumber(redis.call('GET', rates) or 0) + more > tonumber(ARGV[9]) then
  return -2
end

redis.call('INCRBY', rates, more)
redis.call('HDEL', schedule, 'reason', 'next_ms')
redis.call('HSET', schedule, 'tenant', tenant, 'rate', rate, unpack(ARGV, 12))
redis.call('HINCRBY', schedule, 'rev', 1)
redis.call('ZADD', index, 'NX', now_ms, id)
if ARGV[5] == '' then
  local state = redis.call('HGET', schedule, 'state')
  stop(member, id, state, '', now_ms)
  redis.call('HDEL', schedule, 'reason')
else
  redis.call('HSET', schedule, 'next_ms', ARGV[5])
  redis.call('ZADD', 'ms:schedules-due', ARGV[6], member)
end
redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'leaf', 'leaf', ARGV[11])
return 1
