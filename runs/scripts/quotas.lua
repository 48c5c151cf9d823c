-- QUOTAS: what a tenant and one of its keys may use, and have used, at this moment.
--
-- ARGV  tenant  key_id  queue_max
-- Gives rows: whose  quota  allowed, -1 for no bound  used  seconds of its span, 0 for what counts
-- at one moment  seconds until some of it is free again, 0 when nobody can tell
--#include lib_room
--#include lib_quota
local tenant, key_id, queue_max = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now_s, rows = tonumber(redis.call('TIME')[1]), {}

local function add(whose, quota, allowed, used)
  rows[#rows + 1] = { whose, quota, allowed, used, 0, 0 }
end

local function add_rates(whose, own_key, found)
  for index = 1, #found, 2 do
    local quota, allowed = found[index], tonumber(found[index + 1])
    local span_s = string.find(quota, '_per_minute', 1, true) and 60
      or string.find(quota, '_per_day', 1, true) and 86400
    if span_s and allowed then
      local seen = look(quota_key(tenant, own_key), quota, span_s, now_s)
      rows[#rows + 1] = row_of(whose, quota, allowed, seen, now_s)
    end
  end
end

for _, holder in ipairs({ { 'tenant' }, { 'key', key_id } }) do
  local whose, own_key = holder[1], holder[2]
  local terms = 'ms:terms:' .. tenant .. (own_key and ':' .. own_key or '')
  local most = redis.call('HMGET', terms, 'queued_runs', 'concurrent_runs', 'stored_bytes')
  if most[1] or not own_key then
    add(whose, 'queued_runs', tonumber(most[1] or queue_max),
      own_key and queued_of_key(tenant, own_key) or queued_runs(tenant))
  end
  if most[2] then
    local running = 'ms:running:' .. tenant .. ':' .. (own_key or '')
    add(whose, 'concurrent_runs', tonumber(most[2]),
      own_key and redis.call('SCARD', running) or running_runs(tenant))
  end
  if most[3] or not own_key then
    local stored = stored_now(stored_key(tenant, own_key), now_s)
    add(whose, 'stored_bytes', tonumber(most[3] or -1), stored)
  end
  add_rates(whose, own_key, redis.call('HGETALL', terms))
end
return rows
