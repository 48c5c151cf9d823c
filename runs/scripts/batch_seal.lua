-- BATCH_SEAL: a batch has all its items and starts.
--
-- ARGV  batch_id  tenant  how many items it is to have  now_ms
-- Gives a word: `sealed`, also when it was before; `gone`; `moved` and how many items there are;
-- `empty`; `awaited` and how many items it was said to have.
--#include lib_begin
--#include lib_batch
local id, batch = ARGV[1], 'ms:batch:' .. ARGV[1]
local known = redis.call('HMGET', batch, 'state', 'tenant', 'received', 'awaited')
if not known[1] or known[2] ~= ARGV[2] then return { 'gone' } end
local received = tonumber(known[3])
if received ~= tonumber(ARGV[3]) then return { 'moved', received } end
if known[1] ~= 'uploading' then return { 'sealed' } end
if received == 0 then return { 'empty' } end
if known[4] and tonumber(known[4]) ~= received then return { 'awaited', tonumber(known[4]) } end
redis.call('HSET', batch, 'state', 'running', 'total', received, 'sealed_ms', ARGV[4])
for _, part in ipairs({ '', ':items', ':names', ':scripts' }) do redis.call('PERSIST', batch .. part) end
redis.call('DEL', batch .. ':ids')
redis.call('ZADD', 'ms:batch:due', ARGV[4], id)
wake_batch(id)
return { 'sealed' }
