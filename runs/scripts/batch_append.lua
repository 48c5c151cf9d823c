-- BATCH_APPEND: takes a chunk of items, whole or not at all, if it comes next.
--
-- ARGV  batch_id  tenant  index of its first item  count  bytes  chain  chunk  own ids of its items
--       items_max  bytes_max  tenant_bytes_max  keep_unsealed_s
--       number of scripts, then digest and text of each; then the ids of items that have one, each
--       with its index
-- Gives a word: `taken`; `gone`, there is no such batch; `sealed`; `moved` and how many items there
-- are; `many`, `large`, `crowded`: more than `items_max`, `bytes_max`, `tenant_bytes_max`;
-- `stored`, what the tenant may store, and has; `twice`, the index of an item whose id an earlier
-- one has, and the index of that.
--#include lib_begin
--#include lib_stored
local id, tenant, batch = ARGV[1], ARGV[2], 'ms:batch:' .. ARGV[1]
local open, first, count = 'ms:batches:' .. tenant .. ':open', tonumber(ARGV[3]), tonumber(ARGV[4])
local known = redis.call('HMGET', batch, 'state', 'tenant', 'received', 'bytes')
if not known[1] or known[2] ~= tenant then return { 'gone' } end
if known[1] ~= 'uploading' then return { 'sealed' } end
local received, bytes = tonumber(known[3]), tonumber(known[4]) + tonumber(ARGV[5])
if received ~= first then return { 'moved', received } end
if first + count > tonumber(ARGV[9]) then return { 'many' } end
if bytes > tonumber(ARGV[10]) then return { 'large' } end
local all = tonumber(ARGV[5])
local sizes = redis.call('ZRANGE', open, 0, -1, 'WITHSCORES')
for place = 2, #sizes, 2 do all = all + tonumber(sizes[place]) end
if all > tonumber(ARGV[11]) then return { 'crowded' } end
local quota = tonumber(redis.call('HGET', 'ms:terms:' .. tenant, 'stored_bytes') or nil)
if quota then
  local used = stored_now(stored_key(tenant), tonumber(redis.call('TIME')[1]))
  if used + all > quota then return { 'stored', quota, used + all - tonumber(ARGV[5]) } end
end

local ids, scripts, seen = batch .. ':ids', tonumber(ARGV[13]), {}
local first_id = 14 + 2 * scripts
for place = first_id, #ARGV, 2 do
  local before = seen[ARGV[place]] or redis.call('HGET', ids, ARGV[place])
  if before then return { 'twice', tonumber(ARGV[place + 1]), tonumber(before) } end
  seen[ARGV[place]] = ARGV[place + 1]
end

redis.call('XADD', batch .. ':items', (first + 1) .. '-0', 'items', ARGV[7])
redis.call('HSET', batch .. ':names', first, ARGV[8])
redis.call('HSET', batch, 'received', first + count, 'bytes', bytes, 'chain', ARGV[6])
for place = 14, first_id - 1, 2 do
  redis.call('HSETNX', batch .. ':scripts', ARGV[place], ARGV[place + 1])
end
for place = first_id, #ARGV, 2 do redis.call('HSET', ids, ARGV[place], ARGV[place + 1]) end
redis.call('ZADD', open, bytes, id)
for _, part in ipairs({ '', ':items', ':names', ':ids', ':scripts' }) do
  redis.call('EXPIRE', batch .. part, ARGV[12])
end
return { 'taken' }
