-- Writes what a run of a cycle came to, once. Gives 0 when another did, or the sync is gone.
-- ARGV: sync, run, ms at which it is due again ('' never), now ms, number of counters,
--       counters (name, more) ..., fields (name, value; an empty value removes) ...
local sync = 'ms:sync:' .. ARGV[1]
local known = redis.call('HMGET', sync, 'run', 'place', 'again')
if known[1] ~= ARGV[2] then
  return 0
end
redis.call('HDEL', sync, 'run', 'again')
redis.call('HSET', sync, 'last_run', ARGV[2])
local bucket = 'ms:filling:' .. known[2]
if redis.call('GET', bucket) == ARGV[1] then
  redis.call('DEL', bucket)
end
local at = 6
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HINCRBY', sync, ARGV[at], ARGV[at + 1])
  at = at + 2
end
while ARGV[at] do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', sync, ARGV[at])
  else
    redis.call('HSET', sync, ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end
if known[3] then
  redis.call('ZADD', 'ms:syncs:due', ARGV[4], ARGV[1])
elseif ARGV[3] == '' then
  redis.call('ZREM', 'ms:syncs:due', ARGV[1])
else
  redis.call('ZADD', 'ms:syncs:due', ARGV[3], ARGV[1])
end
return 1
