-- What the scripts share that accept runs. A run that is there was accepted whole: record, script,
-- tape, ledger, events, index, RQ's job and its place in the queue.
--#include lib_quota

-- Accepts a run that is not there yet, if it may be. `a` has
--   id  tenant  key_id  queue  now_ms  keep_s  queue_ttl_s  index_max  queue_max  inbox_max
--   script_sha256, script: its text;  accepted: the body of its tape's first entry;  leaf: of the
--   ledger;  record, job: the fields of our record and of RQ's job, as name, value, name, value...
--   expires_ms: until when it must begin, if it must; it stands in the record too
-- Gives nil, and a row for each rate that the run was counted in; or why it was not accepted, and
-- then nothing was written:
--   { 'behind', inbox_max }: so many entries wait for the ledger's sequencer;  { 'suspended' };
--   { 'ceiling', whose, limit, most }: its record asks for more;
--   { 'quota', whose, quota, allowed, used, asked, seconds to wait }
local function accept_run(a)
  if redis.call('XLEN', 'ms:ledger:inbox') >= a.inbox_max then return { 'behind', a.inbox_max } end
  local refused, rows = admit(a)
  if refused then return refused end
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
  redis.call('XADD', events, '*', 'type', 'state', 'data', '{"state":"queued"}')
  redis.call('EXPIRE', events, a.keep_s)

  redis.call('ZADD', index, a.now_ms, a.id)
  redis.call('ZREMRANGEBYRANK', index, 0, -1 - a.index_max)
  redis.call('EXPIRE', index, a.keep_s)

  redis.call('HSET', job, unpack(a.job))
  redis.call('EXPIRE', job, a.queue_ttl_s)
  redis.call('SADD', 'rq:queues', list)
  redis.call('RPUSH', list, a.id)
  if a.expires_ms then redis.call('ZADD', 'ms:expiring', a.expires_ms, a.id) end
  join_ring(a.tenant)
  return nil, rows
end
