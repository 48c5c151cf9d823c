-- What the scripts share that accept runs. A run that is there was accepted whole: record, script,
-- tape, ledger, events, index, RQ's job and its place in the queue.
--#include lib_ring

-- Tells why the tenant may have no further run now: nil when it may, `full` when `queue_max` are
-- queued or wait, `behind` when `inbox_max` entries wait for the ledger's sequencer.
local function no_room(tenant, queue_max, inbox_max)
  if queued_runs(tenant) >= queue_max then return 'full' end
  if redis.call('XLEN', 'ms:ledger:inbox') >= inbox_max then return 'behind' end
end

-- Writes a run that is not there yet. `a` has
--   id  tenant  queue  now_ms  keep_s  queue_ttl_s  index_max
--   script_sha256, script: its text;  accepted: the body of its tape's first entry;  leaf: of the
--   ledger;  record, job: the fields of our record and of RQ's job, as name, value, name, value...
local function accept_run(a)
  local run, job, script = 'ms:run:' .. a.id, 'rq:job:' .. a.id, 'ms:script:' .. a.script_sha256
  local tape, events, index = 'ms:tape:' .. a.id, 'ms:events:' .. a.id, 'ms:runs:' .. a.tenant
  local list = 'rq:queue:' .. a.queue

  if redis.call('EXISTS', script) == 0 then redis.call('SET', script, a.script) end
  redis.call('EXPIRE', script, a.keep_s)
  redis.call('HSET', run, unpack(a.record))
  redis.call('EXPIRE', run, a.keep_s)

  redis.call('XADD', tape, '1-0', 'kind', 'accepted', 'at_ms', a.now_ms, 'body', a.accepted)
  redis.call('EXPIRE', tape, a.keep_s)
  redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'run.accepted', 'run', a.id, 'leaf', a.leaf)
  redis.call('XADD', events, '*', 'type', 'state', 'data',
    cjson.encode({ state = 'queued', at_ms = tonumber(a.now_ms) }))
  redis.call('EXPIRE', events, a.keep_s)

  redis.call('ZADD', index, a.now_ms, a.id)
  redis.call('ZREMRANGEBYRANK', index, 0, -1 - a.index_max)
  redis.call('EXPIRE', index, a.keep_s)

  redis.call('HSET', job, unpack(a.job))
  redis.call('EXPIRE', job, a.queue_ttl_s)
  redis.call('SADD', 'rq:queues', list)
  redis.call('RPUSH', list, a.id)
  join_ring(a.tenant)
end
