-- ENQUEUE: accepts a run, all or nothing. Sent again with the same id it does nothing.
--
-- ARGV  run_id  tenant  now_ms  turn_us  queue_max  keep_s  queue_ttl_s
--       script_sha256  script  accepted_body  index_max  inbox_max  ledger_leaf
--       number of strings that follow for the run's record, then those, then those of RQ's job
-- A run whose record names a `plan_run` applies the plan of that run: it must be approved, and is
-- applied once.
-- Gives 1 accepted, 0 known already, -1 the queue is full, -2 the ledger is too far behind, -3 the
-- plan is not approved, -4 it was applied already.
local run_id, tenant, now_ms = ARGV[1], ARGV[2], ARGV[3]
local run, job, queue = 'ms:run:' .. run_id, 'rq:job:' .. run_id, 't.' .. tenant
local list, index, script = 'rq:queue:' .. queue, 'ms:runs:' .. tenant, 'ms:script:' .. ARGV[8]
local keep_s, parts = tonumber(ARGV[6]), tonumber(ARGV[14])

if redis.call('EXISTS', run) == 1 then return 0 end
-- A run that waits is scheduled for RQ: it takes no slot, and memory for as long as it likes.
local before = redis.call('LLEN', list) + redis.call('ZCARD', 'rq:scheduled:' .. queue)
if before >= tonumber(ARGV[5]) then return -1 end
if redis.call('XLEN', 'ms:ledger:inbox') >= tonumber(ARGV[12]) then return -2 end

local field = {}
for index = 15, 14 + parts, 2 do field[ARGV[index]] = ARGV[index + 1] end
if field.plan_run then
  local planned = 'ms:run:' .. field.plan_run
  local known = redis.call('HMGET', planned, 'tenant', 'plan_approved', 'plan_applied')
  if known[1] ~= tenant or not known[2] then return -3 end
  if known[3] then return -4 end
  redis.call('HSET', planned, 'plan_applied', run_id, 'plan_applied_key', field.plan_key)
end

if redis.call('EXISTS', script) == 0 then redis.call('SET', script, ARGV[9]) end
redis.call('EXPIRE', script, keep_s)
redis.call('HSET', run, unpack(ARGV, 15, 14 + parts))
redis.call('EXPIRE', run, keep_s)

local tape, events = 'ms:tape:' .. run_id, 'ms:events:' .. run_id
redis.call('XADD', tape, '1-0', 'kind', 'accepted', 'at_ms', now_ms, 'body', ARGV[10])
redis.call('EXPIRE', tape, keep_s)
redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'run.accepted', 'run', run_id, 'leaf', ARGV[13])
redis.call('XADD', events, '*', 'type', 'state', 'data',
  cjson.encode({ state = 'queued', at_ms = tonumber(now_ms) }))
redis.call('EXPIRE', events, keep_s)

redis.call('ZADD', index, now_ms, run_id)
redis.call('ZREMRANGEBYRANK', index, 0, -1 - tonumber(ARGV[11]))
redis.call('EXPIRE', index, keep_s)

redis.call('HSET', job, unpack(ARGV, 15 + parts))
redis.call('EXPIRE', job, ARGV[7])
redis.call('SADD', 'rq:queues', list)
redis.call('RPUSH', list, run_id)
redis.call('ZADD', 'ms:ring', 'NX', ARGV[4], queue)
return 1
