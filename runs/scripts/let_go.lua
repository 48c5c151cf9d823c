-- LET_GO: a worker gives up a job that it holds and has not ended, so that the next sweep need not
-- wait for the lease: the run goes on elsewhere, over its tape.
--
-- ARGV  queue  id  execution  score: 0 on purpose, 1 by a fault, which counts as lost
-- Gives 0 lease lost, 1 let go.
--#include lib_room
local queue, key, score = ARGV[1], ARGV[2] .. ':' .. ARGV[3], ARGV[4]
if not redis.call('ZSCORE', 'rq:wip:' .. queue, key) then return 0 end
redis.call('ZADD', 'rq:wip:' .. queue, score, key)
redis.call('ZADD', 'ms:leases', score, queue .. '|' .. key)
return 1
