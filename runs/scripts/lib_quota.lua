-- What a tenant and a key may use, and whether one more run fits: every run that is accepted passes
-- here, whatever started it. Terms stand in `ms:terms:<tenant>` and `ms:terms:<tenant>:<key>`, what
-- was used in `ms:quota:...` of the same two forms. Without terms no rate is counted.
--
-- Instructions are counted by the run's limit as long as it has not ended: whatever runs at the
-- same time, together they cannot use more than the quota. What a run did not use is given back at
-- its end.
--#include lib_window
--#include lib_stored
--#include lib_ring
--#include lib_keyed

-- Quota, its span in seconds, and the limit by which a run is counted, if not as one.
local RATES = { { 'runs_per_minute', 60 }, { 'runs_per_day', 86400 },
  { 'instructions_per_minute', 60, 'instructions' },
  { 'instructions_per_day', 86400, 'instructions' } }

local function quota_key(tenant, key_id)
  return 'ms:quota:' .. tenant .. (key_id and ':' .. key_id or '')
end

-- Gives those who have terms that matter here, as { whose, key id or nil, terms by name }. The
-- tenant is the first, and always there.
local TERMS = { 'queued_runs', 'stored_bytes', 'concurrent_runs', 'runs_per_minute',
  'runs_per_day', 'instructions_per_minute', 'instructions_per_day', 'suspended_ms' }
local LIMITS = { 'instructions', 'memory_bytes', 'cpu_ms', 'wall_ms', 'output_bytes',
  'result_bytes', 'depth', 'calls', 'reply_bytes', 'script_bytes', 'input_bytes' }
for _, name in ipairs(LIMITS) do TERMS[#TERMS + 1] = 'ceiling.' .. name end
local function holders_of(tenant, key_id)
  local holders, of_tenant = {}, 'ms:terms:' .. tenant
  -- Most have none: one question instead of forty.
  if redis.call('EXISTS', of_tenant, of_tenant .. ':' .. (key_id or '')) == 0 then
    return { { 'tenant', nil, {} } }
  end
  for _, key in ipairs({ '', key_id }) do
    local found = redis.call('HMGET', of_tenant .. (key ~= '' and ':' .. key or ''), unpack(TERMS))
    local terms, any = {}, key == ''
    for index, name in ipairs(TERMS) do
      terms[name] = tonumber(found[index] or nil)
      any = any or terms[name] ~= nil
    end
    if any then
      holders[#holders + 1] = { key == '' and 'tenant' or 'key', key ~= '' and key or nil, terms }
    end
  end
  return holders
end

-- Gives what a run may use at most of a limit, by its record.
local function limit_of(record, name)
  for index = 1, #record, 2 do
    if record[index] == 'limits' then
      return tonumber(string.match(record[index + 1], '"' .. name .. '":(%d+)')) or 0
    end
  end
  return 0
end

-- Gives a row as callers show it: whose, quota, allowed, used, its span, and the seconds until some
-- of it is free again.
local function row_of(whose, quota, allowed, seen, now_s)
  local reset_s = seen.sum > 0 and leaves_s(seen, seen.old, now_s) or seen.span_s
  return { whose, quota, allowed, seen.sum, seen.span_s, math.min(reset_s, seen.span_s) }
end

-- Tells why the run does not fit into what the holder may have at the same moment.
local function no_place(a, holder, bytes, now_s)
  local whose, key_id, terms = holder[1], holder[2], holder[3]
  local places = terms.queued_runs or (not key_id and a.queue_max)
  if places then
    local taken = key_id and queued_of_key(a.tenant, key_id) or queued_runs(a.tenant)
    if taken >= places then return { 'quota', whose, 'queued_runs', places, taken, 1, SOON_S } end
  end
  if terms.stored_bytes then
    local stored, wait_s = stored_now(stored_key(a.tenant, key_id), now_s)
    if stored + bytes > terms.stored_bytes then
      return { 'quota', whose, 'stored_bytes', terms.stored_bytes, stored, bytes, wait_s }
    end
  end
end

-- Tells which of its limits the run asks too much of, for this holder.
local function too_high(a, holder)
  for _, name in ipairs(LIMITS) do
    local most = holder[3]['ceiling.' .. name]
    if most and limit_of(a.record, name) > most then return { 'ceiling', holder[1], name, most } end
  end
end

-- Looks at the rates of a holder: gives why the run does not fit, else adds to `windows`.
local function no_rate(a, holder, windows, now_s)
  for _, rate in ipairs(RATES) do
    local quota, span_s, allowed = rate[1], rate[2], holder[3][rate[1]]
    if allowed then
      local amount = rate[3] and limit_of(a.record, rate[3]) or 1
      local seen = look(quota_key(a.tenant, holder[2]), quota, span_s, now_s)
      if seen.sum + amount > allowed then
        local wait_s = free_s(seen, seen.sum + amount - allowed, now_s)
        return { 'quota', holder[1], quota, allowed, seen.sum, amount, wait_s }
      end
      windows[#windows + 1] = { seen = seen, amount = amount, whose = holder[1], quota = quota,
        allowed = allowed, reserved = rate[3] ~= nil }
    end
  end
end

-- Tells why a run may not be accepted, as accept_run gives it. Nil when it may; then it is counted,
-- and the second value has a row for each rate that there is.
--
-- `a` is what accept_run takes; its record gets what the run's end has to correct.
local function admit(a)
  local now_s = tonumber(redis.call('TIME')[1])
  local holders, windows, rows = holders_of(a.tenant, a.key_id), {}, {}
  local bytes, reserved = guess(a.record), {}
  if holders[1][3].suspended_ms then return { 'suspended' } end
  for _, holder in ipairs(holders) do
    local refused = too_high(a, holder) or no_place(a, holder, bytes, now_s)
      or no_rate(a, holder, windows, now_s)
    if refused then return refused end
  end
  for _, one in ipairs(windows) do
    count(one.seen, one.amount, one.reserved)
    rows[#rows + 1] = row_of(one.whose, one.quota, one.allowed, one.seen, now_s)
    if one.reserved then
      reserved[#reserved + 1] = string.format('%s %s %.0f %.0f', one.whose, one.quota, one.seen.now,
        one.amount)
    end
  end
  local function note(name, value)
    a.record[#a.record + 1], a.record[#a.record + 2] = name, value
  end
  if #reserved > 0 then note('reserved', table.concat(reserved, '|')) end
  local of_key = holders[2]
  note('stored', store_new(a, bytes, of_key and of_key[3].stored_bytes and a.key_id, now_s))
  if of_key and (of_key[3].queued_runs or of_key[3].concurrent_runs) then
    note('counted', a.key_id)
    enters_queue(a.tenant, a.key_id, a.id)
  end
  return nil, rows
end

-- Gives back what a run that has ended did not use of what was reserved for it, in the windows that
-- it was counted in. `kept`: its field `reserved`. Who began and tells of no instruction, because
-- the child was killed or its worker lost, has used all of it.
local function settle(run, tenant, key_id, kept)
  local known = redis.call('HMGET', run, 'usage', 'attempt', 'reason')
  local used = tonumber(known[1] and string.match(known[1], '"instructions":(%d+)') or 0)
  local begun = tonumber(known[2] or 0) > 0 and known[3] ~= 'sandbox_unavailable'
  redis.call('HDEL', run, 'reserved')
  for whose, quota, step, reserved in string.gmatch(kept, '(%l+) ([%l_]+) (%d+) (%d+)') do
    local hash = quota_key(tenant, whose == 'key' and key_id or nil)
    reserved = tonumber(reserved)
    correct(hash, quota, step, reserved, used == 0 and begun and reserved or used)
  end
end
