-- HOOK_EVENT: which run an event of a hook starts. The first that asks decides, for all of them.
--
-- ARGV  hook  digest of the event's id  run_id  kept_s  started (1: the run is there; 0: it will be)
-- Gives what was kept before, `started` and the run's id with a space between, or nil.
local key = 'ms:hook-event:' .. ARGV[1] .. ':' .. ARGV[2]
local known = redis.call('GET', key)
if known and ARGV[5] == '0' then return known end
redis.call('SET', key, ARGV[5] .. ' ' .. ARGV[3], 'EX', ARGV[4])
return known
