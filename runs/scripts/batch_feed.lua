-- BATCH_FEED: makes runs of a batch's next items, each whole, and moves on past them in the same
-- step: whoever feeds is killed before or after it. As many as there is room for.
--
-- ARGV  batch_id  index of the first item  now_ms  tenant  key_id  queue  queue_max  inbox_max
--       keep_s  queue_ttl_s  index_max  expires_ms (may be empty)
--       number of strings that follow of a run's record, those; number of strings of RQ's job, those
--       then for each item: run_id  script_sha256  accepted_body  ledger_leaf  number of strings of
--       the record that are others, each after its name; and the same of RQ's job
-- Gives a word, how many items were fed so far, how many of those have ended, and seconds after
-- which to try again. `fed`; `over`, it is not running; `moved`, another has fed meanwhile; `full`,
-- its tenant has enough in its queues; else why a run was refused, as accept_run says.
--#include lib_begin
--#include lib_accept
local id, tenant, batch, key_id = ARGV[1], ARGV[4], 'ms:batch:' .. ARGV[1], ARGV[5]
local known = redis.call('HMGET', batch, 'state', 'fed', 'ended', 'total', 'concurrency')
local fed, ended = tonumber(known[2] or 0), tonumber(known[3] or 0)
if known[1] ~= 'running' then return { 'over', fed, ended, 0 } end
if fed ~= tonumber(ARGV[2]) then return { 'moved', fed, ended, 0 } end
local most = math.min(tonumber(known[4]), ended + tonumber(known[5]))
-- A quarter of its places is left to what the tenant submits otherwise.
local places = redis.call('HGET', 'ms:terms:' .. tenant, 'queued_runs') or ARGV[7]
local room = math.max(1, math.floor(tonumber(places) * 0.75)) - queued_runs(tenant)

-- Takes as many strings as the one at `place` says; gives them, and the place after them.
local function take(place)
  local after = place + 1 + tonumber(ARGV[place])
  return { unpack(ARGV, place + 1, after - 1) }, after
end

-- Gives the fields of `base` with those values in their places that are others.
local function with(base, at, others)
  local fields = { unpack(base) }
  for index = 1, #others, 2 do fields[at[others[index]]] = others[index + 1] end
  return fields
end

local function places_of(base)
  local at = {}
  for index = 1, #base, 2 do at[base[index]] = index + 1 end
  return at
end

local record, after_record = take(13)
local job, place = take(after_record)
local record_at, job_at = places_of(record), places_of(job)
local word, wait_s = 'fed', 0
while place <= #ARGV and fed < most do
  if room <= 0 then
    word, wait_s = 'full', 1
    break
  end
  local run_id, sha256, accepted, leaf = ARGV[place], ARGV[place + 1], ARGV[place + 2], ARGV[place + 3]
  local own_record, own_job, script
  own_record, place = take(place + 4)
  own_job, place = take(place)
  if redis.call('EXISTS', 'ms:run:' .. run_id) == 0 then
    if redis.call('EXISTS', 'ms:script:' .. sha256) == 0 then
      script = redis.call('HGET', batch .. ':scripts', sha256)
    end
    local refused = accept_run({
      id = run_id, tenant = tenant, key_id = key_id, queue = ARGV[6], now_ms = ARGV[3],
      queue_max = tonumber(ARGV[7]), inbox_max = tonumber(ARGV[8]), keep_s = tonumber(ARGV[9]),
      queue_ttl_s = tonumber(ARGV[10]), index_max = tonumber(ARGV[11]),
      expires_ms = ARGV[12] ~= '' and ARGV[12] or nil,
      script_sha256 = sha256, script = script or '', accepted = accepted, leaf = leaf,
      record = with(record, record_at, own_record), job = with(job, job_at, own_job),
    })
    if refused then
      word, wait_s = refused[1], refused[1] == 'quota' and refused[7] or 1
      break
    end
  end
  fed, room = fed + 1, room - 1
end
if fed > tonumber(ARGV[2]) then redis.call('HSET', batch, 'fed', fed) end
return { word, fed, ended, math.ceil(wait_s) }
