-- BATCH_FEED: makes runs of a batch's next items, each whole, and moves on past them in the same
-- step: whoever feeds is killed before or after it. As many as there is room for.
--
-- ARGV  batch_id  index of the first item  now_ms  tenant  key_id  queue  queue_max  inbox_max
--       keep_s  queue_ttl_s  index_max
--       then for each item: run_id  script_sha256  accepted_body  ledger_leaf  number of strings of
--       the run's record, those; number of strings of RQ's job, those
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

local word, wait_s, place = 'fed', 0, 12
while place <= #ARGV and fed < most do
  if room <= 0 then
    word, wait_s = 'full', 1
    break
  end
  local run_id, sha256, script = ARGV[place], ARGV[place + 1], ''
  local record = place + 5
  local job = record + tonumber(ARGV[place + 4]) + 1
  local after = job + tonumber(ARGV[job - 1])
  if redis.call('EXISTS', 'ms:run:' .. run_id) == 0 then
    if redis.call('EXISTS', 'ms:script:' .. sha256) == 0 then
      script = redis.call('HGET', batch .. ':scripts', sha256)
    end
    local refused = accept_run({
      id = run_id, tenant = tenant, key_id = key_id, queue = ARGV[6], now_ms = ARGV[3],
      queue_max = tonumber(ARGV[7]), inbox_max = tonumber(ARGV[8]), keep_s = tonumber(ARGV[9]),
      queue_ttl_s = tonumber(ARGV[10]), index_max = tonumber(ARGV[11]),
      script_sha256 = sha256, script = script, accepted = ARGV[place + 2], leaf = ARGV[place + 3],
      record = { unpack(ARGV, record, job - 2) }, job = { unpack(ARGV, job, after - 1) },
    })
    if refused then
      word, wait_s = refused[1], refused[7] or 1
      break
    end
  end
  fed, place, room = fed + 1, after, room - 1
end
if fed > tonumber(ARGV[2]) then redis.call('HSET', batch, 'fed', fed) end
return { word, fed, ended, math.ceil(wait_s) }
