-- Goes on with a job in another run, or ends it (''), if its run is still the one that was seen.
-- ARGV: job, run that was seen, next run, ms at which somebody looks, objects deleted, fields ...
local job = 'ms:mux-job:' .. ARGV[1]
if redis.call('HGET', job, 'run') ~= ARGV[2] then
  return 0
end
redis.call('HINCRBY', job, 'deleted', ARGV[5])
if ARGV[6] then
  redis.call('HSET', job, unpack(ARGV, 6))
end
if ARGV[3] == '' then
  redis.call('HSET', job, 'done', '1')
  redis.call('ZREM', 'ms:mux-jobs', ARGV[1])
else
  redis.call('HSET', job, 'run', ARGV[3])
  redis.call('ZADD', 'ms:mux-jobs', ARGV[4], ARGV[1])
end
return 1
