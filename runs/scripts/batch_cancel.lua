-- BATCH_CANCEL: nothing more of a batch is fed, and a scheduler cancels what is on its way. One
-- that is still being uploaded is forgotten.
--
-- ARGV  batch_id  tenant  now_ms  why
-- Gives the state that it was in; nothing (false) when this tenant has no such batch.
--#include lib_room
--#include lib_batch
local id, batch = ARGV[1], 'ms:batch:' .. ARGV[1]
local known = redis.call('HMGET', batch, 'state', 'tenant')
if not known[1] or known[2] ~= ARGV[2] then return false end
if known[1] == 'uploading' then
  for _, part in ipairs({ ':items', ':names', ':ids', ':scripts' }) do redis.call('DEL', batch .. part) end
  redis.call('HSET', batch, 'state', 'cancelling', 'received', 0, 'bytes', 0,
    'stopped_by', ARGV[4])
elseif known[1] == 'running' or known[1] == 'stopping' then
  redis.call('HSET', batch, 'state', 'cancelling', 'stopped_by', ARGV[4])
  wake_batch(id)
end
settle_batch(id, ARGV[3])
return known[1]
