-- BATCH_FORGET: an upload that was refused leaves nothing behind.
--
-- ARGV  batch_id  tenant  digest of the idempotency key (may be empty)
--#include lib_room
local id, tenant, batch = ARGV[1], ARGV[2], 'ms:batch:' .. ARGV[1]
local known = redis.call('HMGET', batch, 'state', 'tenant')
if known[1] ~= 'uploading' or known[2] ~= tenant then return 0 end
for _, part in ipairs({ '', ':items', ':names', ':ids', ':scripts' }) do redis.call('DEL', batch .. part) end
redis.call('ZREM', 'ms:batches:' .. tenant .. ':open', id)
redis.call('ZREM', 'ms:batches:' .. tenant, id)
if ARGV[3] ~= '' then redis.call('DEL', 'ms:batchkey:' .. tenant .. ':' .. ARGV[3]) end
return 1
