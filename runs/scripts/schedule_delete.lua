-- DELETES a schedule. Runs that it has started go on; a fire that was begun and not started is not.
--
-- ARGV  tenant  schedule  the ledger's leaf
-- Gives 1, or 0 when the tenant has no such schedule.
--#include lib_begin
local tenant, id = ARGV[1], ARGV[2]
local schedule, member = 'ms:schedule:' .. id, tenant .. '|' .. id
local known = redis.call('HMGET', schedule, 'tenant', 'rate', 'starting', 'current')
if known[1] ~= tenant then return 0 end
if known[3] then
  redis.call('ZREM', 'ms:schedules-starting', member .. '|' .. known[3] .. '|' .. known[4])
end
redis.call('DECRBY', 'ms:schedules-rate:' .. tenant, known[2] or 0)
redis.call('ZREM', 'ms:schedules:' .. tenant, id)
redis.call('ZREM', 'ms:schedules-due', member)
redis.call('ZREM', 'ms:schedules-held', member)
redis.call('DEL', schedule, 'ms:schedule-waiting:' .. id, 'ms:schedule-history:' .. id)
redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'leaf', 'leaf', ARGV[3])
return 1
