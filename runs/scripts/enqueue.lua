-- ENQUEUE: accepts a run, all or nothing. Sent again with the same id it does nothing.
--
-- ARGV  run_id  tenant  now_ms  queue  queue_max  keep_s  queue_ttl_s
--       script_sha256  script  accepted_body  index_max  inbox_max  ledger_leaf
--       tenant_grants  key_grants: the texts that the record's grants were made of, empty for none
--       number of strings that follow for the run's record, then those, then those of RQ's job
-- A run whose record names a `plan_run` applies the plan of that run: it must be approved, and is
-- applied once.
-- Gives a word: `accepted`, `known` already; why not: `behind`, `suspended`, `ceiling`, `quota`, as
-- accept_run says; `grants` when those kept are others by now, and these two texts; `not_approved`, `applied` already. After `accepted` follow the rows of
-- accept_run, after the others what it says of them.
--#include lib_begin
--#include lib_accept
local run_id, tenant, parts = ARGV[1], ARGV[2], tonumber(ARGV[16])

if redis.call('EXISTS', 'ms:run:' .. run_id) == 1 then return { 'known' } end
local field = {}
for index = 17, 16 + parts, 2 do field[ARGV[index]] = ARGV[index + 1] end
local grants = redis.call('HMGET', 'ms:grants:' .. tenant, 'tenant', field.key_id)
if (grants[1] or '') ~= ARGV[14] or (grants[2] or '') ~= ARGV[15] then
  return { 'grants', grants[1] or '', grants[2] or '' }
end
if field.plan_run then
  local planned = 'ms:run:' .. field.plan_run
  local known = redis.call('HMGET', planned, 'tenant', 'plan_approved', 'plan_applied')
  if known[1] ~= tenant or not known[2] then return { 'not_approved' } end
  if known[3] then return { 'applied' } end
end

local refused, rows = accept_run({
  id = run_id, tenant = tenant, key_id = field.key_id, queue = ARGV[4], now_ms = ARGV[3],
  queue_max = tonumber(ARGV[5]), inbox_max = tonumber(ARGV[12]),
  expires_ms = field.expires_ms,
  keep_s = tonumber(ARGV[6]), queue_ttl_s = tonumber(ARGV[7]), index_max = tonumber(ARGV[11]),
  script_sha256 = ARGV[8], script = ARGV[9], accepted = ARGV[10], leaf = ARGV[13],
  record = { unpack(ARGV, 17, 16 + parts) }, job = { unpack(ARGV, 17 + parts) },
})
if refused then return refused end
if field.plan_run then
  redis.call('HSET', 'ms:run:' .. field.plan_run, 'plan_applied', run_id,
    'plan_applied_key', field.plan_key)
end
return { 'accepted', unpack(rows) }
