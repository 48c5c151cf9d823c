-- CLAIM: takes jobs from the tenants' queues in turn, one a turn, and starts them. Popping and
-- starting are one step, so that no job is ever in nobody's hands.
--
-- ARGV  want  lease_s  worker  iso  share  tenant  again  expired_body  expired_error  due
--       execution ids, `want` of them
--       `share`: at most so many jobs of one tenant at once for each live worker, 0 for no cap.
--       `tenant`: one already popped from the ring, or empty; `due`: its place there.
--       `again`: 1 when a call with these execution ids went unanswered: what it took is given
--       once more.
-- Gives false when RQ's workers are suspended, 0 when nobody may claim yet, -1 when Redis is full;
-- else one row for each job taken:
--   verdict  queue  id  execution  started  data  attempt  clock_ms  tape length  and, of the
--   record: tenant  name  script  input  limits  grants  seed  reason  on_unknown
--   and 1 if somebody asked for the run to be cancelled, else 0; and 1 if Redis lost an entry of
--   its tape, else 0; and its mode, and the plan it is held to; and what the tenant's vault is
--   at this moment: its wrapped key, its sealed index
-- Verdicts: `run`: execute it, over its tape if this is not the first attempt. `settled`: the run
-- ended earlier and must not be executed again. `unknown`: no such run.
--#include lib_unqueue
--#include lib_wait
--#include lib_cap
local want, lease_s, worker, iso = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local share = tonumber(ARGV[5])
local worker_key, executions_key = 'rq:worker:' .. worker, 'rq:worker:' .. worker .. ':executions'
local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_ms = string.format('%d', now_s * 1000 + math.floor(time[2] / 1000))
local epoch = string.format('%d.%06d', now_s, time[2])
local rows, unused = {}, {}
for index = 11, #ARGV do unused[#unused + 1] = ARGV[index] end
-- Our own faults; after one of these nothing speaks against another attempt over the tape.
local ours = { worker_lost = true, sandbox_unavailable = true, internal = true }

-- What RQ writes when a worker takes a job (prepare_execution, prepare_job_execution).
local function start_job(queue, id, execution)
  local job, key = 'rq:job:' .. id, id .. ':' .. execution
  redis.call('HSET', job, 'status', 'started', 'started_at', iso, 'last_heartbeat', iso,
    'worker_name', worker)
  redis.call('PERSIST', job)
  redis.call('HSET', 'rq:execution:' .. key, 'id', execution, 'job_id', id, 'created_at', epoch,
    'last_heartbeat', epoch, 'worker_name', worker)
  redis.call('EXPIRE', 'rq:execution:' .. key, lease_s + 60)
  redis.call('ZADD', 'rq:executions:' .. id, now_s + lease_s + 60, execution)
  redis.call('EXPIRE', 'rq:executions:' .. id, lease_s + 60)
  redis.call('ZADD', 'rq:wip:' .. queue, now_s + lease_s, key)
  redis.call('ZADD', 'ms:leases', now_s + lease_s, queue .. '|' .. key)
  redis.call('SADD', executions_key, key)
end

local function start_run(id, execution)
  local run, tape, events = 'ms:run:' .. id, 'ms:tape:' .. id, 'ms:events:' .. id
  local attempt = redis.call('HINCRBY', run, 'attempt', 1)
  redis.call('HSET', run, 'state', 'running', 'execution', execution)
  redis.call('HDEL', run, 'waits', 'woken')
  -- Every attempt has the clock of the first: it is an input of the run.
  redis.call('HSETNX', run, 'started_ms', now_ms)
  if redis.call('HDEL', run, 'reason', 'ended_ms', 'error') > 0 then
    redis.call('HDEL', run, 'lost')  -- somebody asked for it again: the count begins anew
  end
  local body = { attempt = attempt, worker = worker, clock_ms = tonumber(now_ms) }
  append(tape, 'started', now_ms, cjson.encode(body))
  redis.call('XADD', events, '*', 'type', 'state', 'data',
    '{"state":"running","attempt":' .. attempt .. '}')
end

local function judge(queue, id)
  local found = redis.call('HMGET', 'ms:run:' .. id, 'state', 'reason', 'execution', 'expires_ms',
    'counted')
  local state, reason, before = found[1], found[2], found[3]
  if not state then return 'unknown' end
  if state == 'queued' then
    if not found[4] then return 'run', found[5] end
    return tonumber(found[4]) > tonumber(now_ms) and 'run' or 'late', found[5]
  end
  if state == 'running' then
    local held = redis.call('ZSCORE', 'rq:wip:' .. queue, id .. ':' .. (before or ''))
    if held then return 'held' end  -- queued twice; whoever has it goes on
    return 'run', found[5]
  end
  if state == 'waiting' then
    local due_ms = tonumber(redis.call('ZSCORE', 'ms:waiting', queue .. '|' .. id) or 0)
    if redis.call('HEXISTS', 'ms:run:' .. id, 'woken') == 1 or due_ms <= tonumber(now_ms) then
      stop_waiting(queue, id)
      return 'run', found[5]
    end
    -- Some tool of RQ's put it into its queue too early: it waits on.
    redis.call('HSET', 'rq:job:' .. id, 'status', 'scheduled')
    redis.call('ZADD', 'rq:scheduled:' .. queue, math.ceil(due_ms / 1000), id)
    return 'held'
  end
  if ours[reason] then return 'run', found[5] end
  return 'settled'
end

local function give(verdict, queue, id, execution)
  local run = 'ms:run:' .. id
  local known = redis.call('HMGET', run, 'tenant', 'name', 'script_sha256', 'input', 'limits',
    'grants', 'seed', 'reason', 'on_unknown', 'attempt', 'started_ms', 'tape_lost', 'mode', 'plan')
  local row = { verdict, queue, id, execution, epoch, redis.call('HGET', 'rq:job:' .. id, 'data'),
    tonumber(known[10] or 0), known[11] or now_ms, redis.call('XLEN', 'ms:tape:' .. id) }
  if known[3] then known[3] = redis.call('GET', 'ms:script:' .. known[3]) end
  for index = 1, 9 do row[9 + index] = known[index] end
  row[19] = redis.call('EXISTS', 'ms:cancel:' .. id)
  row[20] = known[12] and 1 or 0
  row[21], row[22] = known[13], known[13] == 'apply' and known[14]
  local vault = 'ms:vault:' .. (known[1] or '') .. ':'
  row[23], row[24] = unpack(redis.call('MGET', vault .. 'key', vault .. 'index'))
  rows[#rows + 1] = row
end

local function take(queue, id)
  if redis.call('EXISTS', 'rq:job:' .. id) == 0 then
    -- RQ let it expire in the queue, or somebody deleted it while it waited.
    local state = redis.call('HGET', 'ms:run:' .. id, 'state')
    if state == 'queued' or state == 'waiting' then
      stop_waiting(queue, id)
      drop_job(queue, id, now_s)
      redis.call('HDEL', 'ms:run:' .. id, 'output', 'waits', 'woken')
      end_run(id, now_ms, 'cancelled', 'expired', ARGV[8], { 'error', ARGV[9] })
    end
    return
  end
  local verdict, counted = judge(queue, id)
  if verdict == 'run' then counted = counted or begins_to_count(tenant_of(queue), id) end
  if verdict == 'run' and counted then
    if not may_begin(queue, tenant_of(queue), counted, id, now_s) then return end
    enters_worker(tenant_of(queue), counted, id)
  end
  if verdict == 'late' then
    drop_job(queue, id, now_s)
    end_run(id, now_ms, 'cancelled', 'expired', ARGV[8], { 'error', ARGV[9] })
  end
  if verdict == 'held' or verdict == 'late' then return end
  local execution = table.remove(unused)
  start_job(queue, id, execution)
  if verdict == 'run' then start_run(id, execution) end
  give(verdict, queue, id, execution)
end

-- The reply of a call was lost: what it took is ours, and nobody has begun to execute it.
local function give_again()
  local asked, left = {}, {}
  for _, execution in ipairs(unused) do asked[execution] = true end
  for _, key in ipairs(redis.call('SMEMBERS', executions_key)) do
    local id, execution = string.match(key, '^(.*):(.*)$')
    local queue = redis.call('HGET', 'rq:job:' .. id, 'origin')
    if asked[execution] and queue and redis.call('ZSCORE', 'rq:wip:' .. queue, key) then
      asked[execution] = nil
      local found = redis.call('HMGET', 'ms:run:' .. id, 'state', 'execution')
      local verdict = found[1] and 'settled' or 'unknown'
      if found[1] == 'running' and found[2] == execution then verdict = 'run' end
      give(verdict, queue, id, execution)
    end
  end
  for execution in pairs(asked) do left[#left + 1] = execution end
  unused = left
end

local reached = tonumber(redis.call('ZSCORE', 'ms:turns', '') or 0)  -- the virtual time

-- Gives a tenant that was taken off the ring its turn, and a place in line for its next one.
local function serve(tenant, due)
  local weight, full = terms_of(tenant, share)
  local queue = not full and next_queue(tenant)
  if not queue then
    if in_all('EXISTS', 'rq:queue:', tenant) > 0 then redis.call('SADD', 'ms:parked', tenant) end
    if due > reached then redis.call('ZADD', 'ms:turns', due, tenant) end
    return
  end
  take(queue, redis.call('LPOP', 'rq:queue:' .. queue))
  reached = math.max(reached, due)
  local line = in_all('EXISTS', 'rq:queue:', tenant) > 0 and 'ms:ring' or 'ms:turns'
  redis.call('ZADD', line, reached + 1 / weight, tenant)
end

local tenant, due = ARGV[6], tonumber(ARGV[10])
-- A run that begins while Redis is full could write no call's intent. This changes nothing, but is
-- refused then, which a claim's own first writes would not be.
local room = redis.pcall('ZADD', 'ms:nothing', 'XX', 0, '')
if type(room) == 'table' and room.err then
  redis.call('DEL', 'ms:nothing')
  if tenant ~= '' then redis.call('ZADD', 'ms:ring', 'NX', due, tenant) end
  return -1
end
if redis.call('EXISTS', 'rq:suspended') == 1 then
  if tenant ~= '' then redis.call('ZADD', 'ms:ring', 'NX', due, tenant) end
  return false
end
-- A server that was restarted may have lost its last second. Workers that live say what they had
-- written in it (see WITNESS) before anybody executes a run again.
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local server_before = redis.call('GET', 'ms:epoch')
if server_before ~= server then
  redis.call('SET', 'ms:epoch', server)
  if server_before then redis.call('SET', 'ms:hold', 1, 'EX', 5) end
end
if redis.call('EXISTS', 'ms:hold') == 1 then
  if tenant ~= '' then redis.call('ZADD', 'ms:ring', 'NX', due, tenant) end
  return 0
end
if ARGV[7] == '1' then give_again() end
-- The first that is due comes first, so it is put in front last.
local ripe = redis.call('ZRANGEBYSCORE', 'ms:waiting', 0, now_ms, 'LIMIT', 0, 64)
for index = #ripe, 1, -1 do
  local due_queue, id = string.match(ripe[index], '^(.*)|(.*)$')
  wake(due_queue, id, iso)
end
-- Jobs that turn out to need no slot are bounded too: a script holds up everybody.
for _ = 1, want + 64 do
  if #rows == want then break end
  if tenant == '' then
    local popped = redis.call('ZPOPMIN', 'ms:ring')
    if #popped == 0 then break end
    tenant, due = popped[1], tonumber(popped[2])
  end
  serve(tenant, due)
  tenant = ''
end
redis.call('ZADD', 'ms:turns', reached, '')
redis.call('ZREMRANGEBYSCORE', 'ms:turns', 0, '(' .. string.format('%.17g', reached))
if #rows > 0 and redis.call('EXISTS', worker_key) == 1 then
  redis.call('HSET', worker_key, 'state', 'busy')
  redis.call('EXPIRE', executions_key, redis.call('TTL', worker_key))
end
return rows
