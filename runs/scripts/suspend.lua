-- SUSPEND: a worker lets go of a run that waits. The waiting, the questions it asks, and the end of
-- the lease are one step, so that a run is either in a worker's hands or due at a known time.
--
-- ARGV  queue  id  execution  worker  iso  due_ms  waits  calls  output  usage
--       number, question and ledger leaf of each approval...
-- Gives 0 lease lost, 1 it waits (or goes on at once, when what it waits for is there already),
-- 3 somebody asked for it to be cancelled: nothing was done, the worker is to end it.
--#include lib_room
--#include lib_wait
--#include lib_keyed
local queue, id, execution, worker, iso = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key, run, job = id .. ':' .. execution, 'ms:run:' .. id, 'rq:job:' .. id
local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_ms = now_s * 1000 + math.floor(time[2] / 1000)
local due_ms = tonumber(ARGV[6])

if not redis.call('ZSCORE', 'rq:wip:' .. queue, key) then return 0 end
local found = redis.call('HMGET', run, 'state', 'execution', 'tenant', 'script_sha256',
  'result_ttl_s', 'failure_ttl_s', 'counted')
if found[1] ~= 'running' or found[2] ~= execution then return 0 end
if redis.call('EXISTS', 'ms:cancel:' .. id) == 1 then return 3 end

-- The lease, as FINISH gives it back.
redis.call('ZREM', 'rq:wip:' .. queue, key)
redis.call('ZREM', 'ms:leases', queue .. '|' .. key)
redis.call('DEL', 'rq:execution:' .. key)
redis.call('ZREM', 'rq:executions:' .. id, execution)
local worker_key = 'rq:worker:' .. worker
redis.call('SREM', worker_key .. ':executions', key)
if redis.call('EXISTS', worker_key) == 1
  and redis.call('EXISTS', worker_key .. ':executions') == 0 then
  redis.call('HSET', worker_key, 'state', 'idle')
end
unpark(queue)

-- The record. A run that came so far is not one that loses its workers.
redis.call('HSET', run, 'state', 'waiting', 'waits', ARGV[7])
for index, name in ipairs({ 'calls', 'output', 'usage' }) do
  if ARGV[7 + index] ~= '' then redis.call('HSET', run, name, ARGV[7 + index]) end
end
redis.call('HDEL', run, 'lost', 'execution')
if found[7] then enters_queue(found[3], found[7], id) end

-- Nothing of it may expire while it waits; what it shares with others, not before it can have ended.
for _, name in ipairs({ run, 'ms:tape:' .. id, 'ms:events:' .. id, job }) do
  redis.call('PERSIST', name)
end
local keep_s = math.ceil(math.max(0, due_ms - now_ms) / 1000) + 30 * 86400
  + tonumber(found[5] or 0) + tonumber(found[6] or 0)
for _, name in ipairs({ 'ms:script:' .. found[4], 'ms:runs:' .. found[3] }) do
  local left_s = redis.call('TTL', name)
  if left_s >= 0 and left_s < keep_s then redis.call('EXPIRE', name, keep_s) end
end

redis.call('XADD', 'ms:events:' .. id, 'MAXLEN', '~', 1000, '*', 'type', 'state', 'data',
  '{"state":"waiting","waits":' .. ARGV[7] .. '}')
redis.call('ZADD', 'ms:waiting', due_ms, queue .. '|' .. id)
if redis.call('EXISTS', job) == 1 then
  -- What RQ reads as empty when it is absent: many may wait, and each of these takes its room.
  -- WAKE writes back what the job says of itself, and `stop_waiting` how long it is kept.
  redis.call('HDEL', job, 'started_at', 'ended_at', 'last_heartbeat', 'worker_name', 'group_id',
    'success_callback_name', 'failure_callback_name', 'stopped_callback_name', 'enqueued_at',
    'description', 'result_ttl', 'failure_ttl')
  redis.call('HSET', job, 'status', 'scheduled')
  redis.call('ZADD', 'rq:scheduled:' .. queue, math.ceil(due_ms / 1000), id)
end

local approvals, ready = 'ms:approvals:' .. id, due_ms <= now_ms
for index = 11, #ARGV, 3 do
  local n = ARGV[index]
  if redis.call('HSETNX', approvals, n, ARGV[index + 1]) == 1 then
    redis.call('ZADD', 'ms:asked:' .. found[3], now_ms, id .. '|' .. n)
    redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'leaf', 'leaf', ARGV[index + 2])
  end
  ready = ready or redis.call('HEXISTS', approvals, 'a:' .. n) == 1
end
if ready then wake(queue, id, iso) end
return 1
