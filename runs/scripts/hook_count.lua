-- HOOK_COUNT: counts what became of an event, if its hook is still there.
--
-- ARGV  hook  counter  at_ms  words: why it was refused, or empty
local key = 'ms:hook:' .. ARGV[1]
if redis.call('EXISTS', key) == 0 then return 0 end
redis.call('HINCRBY', key, ARGV[2], 1)
redis.call('HSET', key, 'n_last_ms', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', key, 'n_refusal', ARGV[4], 'n_refusal_ms', ARGV[3]) end
return 1
