-- What the scripts that end something share. Names of keys: core/keys.py, and RQ's own (rq:*).
--#include lib_quota
--#include lib_callback
--#include lib_batch

-- Writes the next entry of a tape and gives its number. Numbers have no gaps, so the length is the
-- last one, unless Redis lost a part: that tape goes on after what is left, and has a gap for ever.
local function append(tape, kind, at_ms, body)
  local seq = redis.call('XLEN', tape) + 1
  local done = redis.pcall('XADD', tape, seq .. '-0', 'kind', kind, 'at_ms', at_ms, 'body', body)
  if type(done) == 'table' and done.err then
    local last = redis.call('XREVRANGE', tape, '+', '-', 'COUNT', 1)[1]
    seq = tonumber(string.match(last[1], '^%d+')) + 1
    redis.call('XADD', tape, seq .. '-0', 'kind', kind, 'at_ms', at_ms, 'body', body)
  end
  return seq
end

-- Ends a run in its record, on its tape, in its events and in the ledger's inbox, and wakes who
-- waits for it. `fields` are further fields of the record: name, value, name, value...
local function end_run(run_id, at_ms, state, reason, tape_body, fields)
  local run, tape, events = 'ms:run:' .. run_id, 'ms:tape:' .. run_id, 'ms:events:' .. run_id
  local known = redis.call('HMGET', run, 'tenant', 'result_ttl_s', 'failure_ttl_s', 'key_id',
    'reserved', 'stored', 'counted', 'callback', 'batch', 'item', 'origin', 'origin_id')
  local ttl_s = state == 'succeeded' and known[2] or known[3]
  redis.call('HSET', run, 'state', state, 'reason', reason, 'ended_ms', at_ms, unpack(fields))
  local seq = append(tape, 'finished', at_ms, tape_body)
  redis.call('XADD', events, 'MAXLEN', '~', 1000, '*', 'type', 'state', 'data',
    cjson.encode({ state = state, reason = reason, at_ms = tonumber(at_ms) }))
  redis.call('HINCRBY', 'ms:ended', reason, 1)
  redis.call('XADD', 'ms:done', 'MAXLEN', '~', 5000, '*', 'run', run_id, 'state', state)
  redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'run.finished', 'run', run_id,
    'tenant', known[1] or '', 'seq', seq, 'at_ms', at_ms, 'ttl_s', ttl_s or 0)
  redis.call('EXPIRE', run, ttl_s)
  -- The sequencer gives it its time to live, once it is in the archive.
  redis.call('PERSIST', tape)
  redis.call('EXPIRE', events, ttl_s)
  redis.call('DEL', 'ms:cancel:' .. run_id)
  local approvals = 'ms:approvals:' .. run_id
  for _, n in ipairs(redis.call('HKEYS', approvals)) do
    redis.call('ZREM', 'ms:asked:' .. (known[1] or ''), run_id .. '|' .. n)
  end
  redis.call('EXPIRE', approvals, ttl_s)
  if known[5] then settle(run, known[1], known[4], known[5]) end
  if known[6] then measure(run_id, known[1], known[6], math.floor(at_ms / 1000), ttl_s) end
  if known[7] then leaves(known[1], known[7], run_id) end
  if known[8] then
    queue_callback(known[1], known[8], 'run.finished', run_id, state, reason, at_ms, '')
  end
  if known[9] then batch_ended(known[9], known[10], reason, at_ms) end
  if known[11] == 'schedule' then  -- fires that wait for this end are looked at next
    redis.call('ZADD', 'ms:schedules-held', 'XX', 0, known[1] .. '|' .. known[12])
  end
end

-- Does what RQ does when a job ends, in RQ's keys and fields. `how` is one of RQ's words finished,
-- failed, stopped; `value` is base64: of the JSON result, or of the compressed failure text.
local function end_job(queue, job_id, how, value, iso, now_s, worker, execution)
  local job = 'rq:job:' .. job_id
  if redis.call('EXISTS', job) == 0 then return end  -- somebody deleted it while it ran
  local failed = how ~= 'finished'
  -- Only a job that is none of ours comes without: a day, where RQ would keep a failure a year.
  local ttl_s = tonumber(redis.call('HGET', job, failed and 'failure_ttl' or 'result_ttl') or 86400)
  redis.call('HSET', job, 'status', how, 'ended_at', iso, 'last_heartbeat', iso)
  for _, key in ipairs({ job, job .. ':dependents', job .. ':dependencies' }) do
    redis.call('EXPIRE', key, ttl_s)
  end
  local result = { 'type', failed and 2 or 1, 'worker_name', worker,
    failed and 'exc_string' or 'return_value', value }
  for _, part in ipairs(execution) do result[#result + 1] = part end
  redis.call('XADD', 'rq:results:' .. job_id, 'MAXLEN', '~', 10, '*', unpack(result))
  redis.call('EXPIRE', 'rq:results:' .. job_id, ttl_s)
  redis.call('ZADD', (failed and 'rq:failed:' or 'rq:finished:') .. queue, now_s + ttl_s, job_id)
end
