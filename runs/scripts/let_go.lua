-- LET_GO: a worker gives up a job that it holds and has not ended: the run goes on elsewhere, over
-- its tape. One that stops puts the run back into its queue at once; after a fault, the next sweep
-- judges it, without waiting for the lease.
--
-- ARGV  queue  id  execution  score: 0 on purpose, 1 by a fault, which counts as lost
--       at once: 1 if so  iso
-- Gives 0 lease lost, 1 let go, 2 back in its queue.
--#include lib_room
--#include lib_requeue
local queue, id, execution, score = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = id .. ':' .. execution
if not redis.call('ZSCORE', 'rq:wip:' .. queue, key) then return 0 end
local now = redis.call('HMGET', 'ms:run:' .. id, 'state', 'execution')
-- What is to be cancelled ends by what its tape says, and that is the sweep's to read.
local goes_on = now[1] == 'running' and now[2] == execution
  and redis.call('EXISTS', 'rq:job:' .. id) == 1 and redis.call('EXISTS', 'ms:cancel:' .. id) == 0
if ARGV[5] == '1' and goes_on then
  end_lease(queue, id, execution)
  back_to_queue(queue, id, ARGV[6])
  unpark(queue)
  return 2
end
redis.call('ZADD', 'rq:wip:' .. queue, score, key)
redis.call('ZADD', 'ms:leases', score, queue .. '|' .. key)
return 1
