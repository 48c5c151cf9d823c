-- BATCH_OPEN: begins a batch, without items yet. The same idempotency key again gives the one that
-- it began.
--
-- ARGV  batch_id  tenant  now_ms  keep_unsealed_s  keep_s  open_max  index_max
--       digest of the idempotency key (may be empty)  digest of what the batch is to be
--       digest of its script, and its text (both may be empty)
--       fields of the record: name, value...
-- Gives a word and an id: `made`; `known`, the same was asked for before; `other`, something else
-- was asked for with this key; `full`, the tenant has `open_max` batches that have not ended.
--#include lib_begin
local id, tenant, batch = ARGV[1], ARGV[2], 'ms:batch:' .. ARGV[1]
local open, index = 'ms:batches:' .. tenant .. ':open', 'ms:batches:' .. tenant
local by_key = ARGV[8] ~= '' and 'ms:batchkey:' .. tenant .. ':' .. ARGV[8]
if by_key then
  local found = redis.call('GET', by_key)
  local same = found and redis.call('HGET', 'ms:batch:' .. found, 'asked_sha256')
  if same then return { same == ARGV[9] and 'known' or 'other', found } end
end
for _, one in ipairs(redis.call('ZRANGE', open, 0, -1)) do
  if redis.call('EXISTS', 'ms:batch:' .. one) == 0 then redis.call('ZREM', open, one) end
end
if redis.call('ZCARD', open) >= tonumber(ARGV[6]) then return { 'full', '' } end

redis.call('HSET', batch, 'tenant', tenant, 'state', 'uploading', 'created_ms', ARGV[3],
  'asked_sha256', ARGV[9], 'keep_s', ARGV[5], 'received', 0, 'bytes', 0, 'total', 0, 'fed', 0,
  'ended', 0, 'failed', 0, 'script_sha256', ARGV[10],
  unpack(ARGV, 12))
redis.call('EXPIRE', batch, ARGV[4])
if ARGV[10] ~= '' then
  redis.call('HSET', batch .. ':scripts', ARGV[10], ARGV[11])
  redis.call('EXPIRE', batch .. ':scripts', ARGV[4])
end
redis.call('ZADD', open, 0, id)
redis.call('ZADD', index, ARGV[3], id)
redis.call('ZREMRANGEBYRANK', index, 0, -1 - tonumber(ARGV[7]))
redis.call('EXPIRE', index, ARGV[5])
if by_key then redis.call('SET', by_key, id, 'EX', ARGV[5]) end
return { 'made', id }
