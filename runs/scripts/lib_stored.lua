-- How many bytes of Redis the runs of a tenant take: measured at their end, guessed until then.
--
-- `ms:stored:<tenant>` and, for a key that has a quota of them, `ms:stored:<tenant>:<key>` are
-- hashes: `total`, `at` the last period that was cleared, and by period, six hours each, the bytes
-- of runs whose time to live ends in it. Nobody tells when a key of Redis expires: what a period
-- held is taken off the total when it is over.

local PERIOD_S = 21600
-- What a run takes beside its input: record, tape, events, RQ's job and the indexes.
local ROOM_BYTES = 4096

local function stored_key(tenant, key_id)
  return 'ms:stored:' .. tenant .. (key_id and ':' .. key_id or '')
end

-- Gives the bytes that are stored now, and the seconds until some of them are gone.
local function stored_now(hash, now_s)
  local now = math.floor(now_s / PERIOD_S)
  local known = redis.call('HMGET', hash, 'total', 'at')
  local total, at = tonumber(known[1]) or 0, tonumber(known[2])
  if at ~= now then
    local all = redis.call('HGETALL', hash)
    for index = 1, #all, 2 do
      local period = tonumber(all[index])
      if period and period < now then
        total = total - tonumber(all[index + 1])
        redis.call('HDEL', hash, all[index])
      end
    end
    if at or total ~= 0 then redis.call('HSET', hash, 'total', math.max(0, total), 'at', now) end
  end
  return math.max(0, total), (now + 1) * PERIOD_S - now_s
end

-- Counts bytes that are kept until `until_s`; a negative number takes them off again.
local function store(hash, bytes, until_s)
  redis.call('HINCRBY', hash, 'total', bytes)
  redis.call('HINCRBY', hash, math.floor(until_s / PERIOD_S), bytes)
end

-- Counts what a run takes until it ends, for it can be told only then, and gives the text of its
-- record's field `stored`: bytes, second of expiry, and the key if it is counted too. A script is
-- counted for whoever brings it first: it is stored once.
local function store_new(a, bytes, key_id, now_s)
  local hashes = { stored_key(a.tenant) }
  if key_id then hashes[2] = stored_key(a.tenant, key_id) end
  local brought = redis.call('EXISTS', 'ms:script:' .. a.script_sha256) == 0 and #a.script or 0
  for _, hash in ipairs(hashes) do store(hash, bytes + brought, now_s + a.keep_s) end
  return string.format('%.0f|%.0f|%s', bytes, now_s + a.keep_s, key_id or '')
end

local function guess(record)
  local bytes = ROOM_BYTES
  for index = 2, #record, 2 do bytes = bytes + #record[index] end
  return bytes
end

-- Puts the bytes that a run has at its end in the place of the guess. Where `MEMORY` is not there,
-- or not for us, the guess stays.
local function measure(run_id, tenant, kept, now_s, ttl_s)
  local before, until_s, key_id = string.match(kept, '^(%d+)|(%d+)|(.*)$')
  local bytes = 0
  for _, name in ipairs({ 'ms:run:', 'ms:tape:', 'ms:events:', 'rq:job:', 'rq:results:' }) do
    local one = redis.pcall('MEMORY', 'USAGE', name .. run_id, 'SAMPLES', 100)
    if type(one) == 'table' then
      bytes = tonumber(before)
      break
    end
    bytes = bytes + (one or 0)
  end
  local hashes = { stored_key(tenant) }
  if key_id ~= '' then hashes[2] = stored_key(tenant, key_id) end
  for _, hash in ipairs(hashes) do
    if tonumber(until_s) >= now_s then store(hash, -before, until_s) end
    store(hash, bytes, now_s + ttl_s)
  end
  redis.call('HSET', 'ms:run:' .. run_id, 'stored',
    string.format('%.0f|%.0f|%s', bytes, now_s + ttl_s, key_id))
end
