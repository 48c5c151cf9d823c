-- Gives what is due of a list, and to nobody else for a while.
-- ARGV: list, now ms, ms for which it is taken, most of them
local due = redis.call('ZRANGEBYSCORE', ARGV[1], 0, ARGV[2], 'LIMIT', 0, ARGV[4])
for _, one in ipairs(due) do
  redis.call('ZADD', ARGV[1], ARGV[2] + ARGV[3], one)
end
return due
