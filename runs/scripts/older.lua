-- OLDER: the ids of a tenant's runs, newest first, that come after one of them. One step: a run
-- that is accepted between asking for the rank and for the range would move all others.
--
-- ARGV  tenant  run_id ('' for the newest)  count
local index, start = 'ms:runs:' .. ARGV[1], 0
if ARGV[2] ~= '' then
  local rank = redis.call('ZREVRANK', index, ARGV[2])
  if not rank then return {} end
  start = rank + 1
end
return redis.call('ZREVRANGE', index, start, start + ARGV[3] - 1)
