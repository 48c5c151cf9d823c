-- Keeps an event of Mux before it is answered. Gives the job of it: the one there was, if it came
-- before.
-- ARGV: connection, digest of the event's id, job, ms at which somebody looks, seconds to keep it,
--       fields (name, value) ...
local event = 'ms:mux-event:' .. ARGV[1] .. ':' .. ARGV[2]
local known = redis.call('GET', event)
if known then
  return known
end
redis.call('SET', event, ARGV[3], 'EX', ARGV[5])
local job = 'ms:mux-job:' .. ARGV[3]
redis.call('HSET', job, unpack(ARGV, 6))
redis.call('EXPIRE', job, ARGV[5])
redis.call('ZADD', 'ms:mux-jobs', ARGV[4], ARGV[3])
return ARGV[3]
