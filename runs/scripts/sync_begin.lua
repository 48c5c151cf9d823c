-- Begins a cycle of a sync, unless one is under way or another sync fills the same bucket.
-- Gives the run that carries the cycle now; '' when it has to wait, false when it does nothing.
-- ARGV: sync, run, now ms, ms until somebody looks at the run, ms until another try
local sync = 'ms:sync:' .. ARGV[1]
local known = redis.call('HMGET', sync, 'active', 'run', 'place')
if known[1] ~= '1' then
  redis.call('ZREM', 'ms:syncs:due', ARGV[1])
  return false
end
if known[2] then
  return known[2]
end
local bucket = 'ms:filling:' .. known[3]
local other = redis.call('GET', bucket)
-- One that ends by itself is held for the last run of a sync that was deleted.
if other and other ~= ARGV[1] and (redis.call('HEXISTS', 'ms:sync:' .. other, 'run') == 1
    or redis.call('TTL', bucket) > 0) then
  redis.call('ZADD', 'ms:syncs:due', ARGV[3] + ARGV[5], ARGV[1])
  return ''
end
redis.call('SET', bucket, ARGV[1])
redis.call('HSET', sync, 'run', ARGV[2], 'status', 'ACTIVE')
redis.call('HDEL', sync, 'again')
redis.call('ZADD', 'ms:syncs:due', ARGV[3] + ARGV[4], ARGV[1])
return ARGV[2]
