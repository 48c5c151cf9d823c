-- BATCH_DUE: takes batches that nobody has looked at for a while; each is given to one scheduler.
--
-- ARGV  now_ms  rest_ms  count
--       `rest_ms`: if whoever takes one dies, it is given to another after so long
--#include lib_room
local due = redis.call('ZRANGEBYSCORE', 'ms:batch:due', '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZADD', 'ms:batch:due', 'XX', ARGV[1] + ARGV[2], id)
end
return due
