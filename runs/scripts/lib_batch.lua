-- How batches count the ends of their runs, and how they end themselves.
--
-- `ms:batch:<id>:ends` has one byte for each item, at its index: 0 while it has not ended, else the
-- place of its reason in the list below. It outlives the records of the runs.

--#include lib_callback

-- Asks a scheduler to look at a batch. It is asked once until it has looked.
local function wake_batch(id)
  if redis.call('HSETNX', 'ms:batch:' .. id, 'woken', 1) == 1 then
    redis.call('RPUSH', 'ms:batch:wake', id)
  end
end

-- Does what follows from a batch's counts: ends it, stops it after too many failures, or asks for
-- more of it to be fed.
local function settle_batch(id, now_ms)
  local batch = 'ms:batch:' .. id
  local known = redis.call('HMGET', batch, 'state', 'total', 'fed', 'ended', 'failed',
    'concurrency', 'stop_after', 'tenant', 'keep_s', 'callback')
  local state = known[1]
  if state ~= 'running' and state ~= 'stopping' and state ~= 'cancelling' then return end
  local total, fed, ended = tonumber(known[2]), tonumber(known[3]), tonumber(known[4])
  local stop_after = tonumber(known[7])
  if state == 'running' and stop_after > 0 and tonumber(known[5]) >= stop_after and ended < total then
    state = 'stopping'
    redis.call('HSET', batch, 'state', state, 'stopped_by', 'failures')
    wake_batch(id)
  end
  if ended >= fed and (state ~= 'running' or fed >= total) then
    local last = { running = 'completed', stopping = 'stopped', cancelling = 'cancelled' }
    redis.call('HSET', batch, 'state', last[state], 'ended_ms', now_ms)
    for _, part in ipairs({ '', ':names', ':ends' }) do
      redis.call('EXPIRE', batch .. part, known[9])
    end
    -- What its runs had as input stands in their records, and is erased with those.
    redis.call('DEL', batch .. ':items', batch .. ':scripts')
    redis.call('ZREM', 'ms:batch:due', id)
    redis.call('ZREM', 'ms:batches:' .. known[8] .. ':open', id)
    if known[10] then
      queue_callback(known[8], known[10], 'batch.finished', id, last[state], '', now_ms,
        cjson.encode({ items = total, ended = ended, failed = tonumber(known[5]) }))
    end
  elseif state == 'running' and fed < total then
    -- Not for each place that is free, where there are many: whoever feeds looks at it twice.
    local places = tonumber(known[6])
    local enough = math.max(1, math.min(32, math.floor(places / 8)))
    if places - (fed - ended) >= enough then wake_batch(id) end
  end
end

-- Counts the end of an item's run. A run may end again: one that was put back into its queue.
local function batch_ended(id, item, reason, now_ms)
  -- New reasons come last: the bytes are kept.
  local reasons = { 'ok', 'script_error', 'syntax_error', 'instruction_limit', 'memory_limit',
    'cpu_limit', 'wall_limit', 'output_limit', 'call_limit', 'result_limit', 'invalid_result',
    'denied', 'effect_unknown', 'diverged', 'cancelled', 'expired', 'crashed',
    'protocol_violation', 'worker_lost', 'sandbox_unavailable', 'internal' }
  local harmless = { ok = true, cancelled = true }
  local batch = 'ms:batch:' .. id
  if redis.call('HEXISTS', batch, 'state') == 0 then return end  -- it is no longer kept
  local code = 0
  for place, known in ipairs(reasons) do
    if known == reason then code = place end
  end
  local before = reasons[string.byte(redis.call('GETRANGE', batch .. ':ends', item, item)) or 0]
  redis.call('SETRANGE', batch .. ':ends', item, string.char(code))
  if before then
    redis.call('HINCRBY', batch, 'end:' .. before, -1)
    if not harmless[before] then redis.call('HINCRBY', batch, 'failed', -1) end
  else
    redis.call('HINCRBY', batch, 'ended', 1)
  end
  redis.call('HINCRBY', batch, 'end:' .. reason, 1)
  if not harmless[reason] then redis.call('HINCRBY', batch, 'failed', 1) end
  settle_batch(id, now_ms)
end
