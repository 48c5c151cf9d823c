-- IDEMPOTENCY: what is known of a request that its client may send again.
--
-- ARGV  verb  key  ...
--   begin  salt  mac  seed  token  lease_ms  keep_s: takes the key if nobody has. Gives false when
--          it was free; else what is known:
--            salt  mac  seed  token  milliseconds left of its lease  status  headers  body  reference
--   take   the token that was seen  token  lease_ms: goes on for one whose lease is over. Gives 1.
--   renew  token  lease_ms.
--   keep   token  keep_s  status  headers  body  reference  run: the answer; `run`: the run that it
--          tells of, or empty; who erases that erases this.
--   let_go token: the lease is over, what was to be made may be there.
--   forget token: nothing was made, the key is free.
-- A key is in flight while its lease lasts and there is no status. Whoever no longer has the token
-- changes nothing: 0.
--#include lib_begin
local verb, key = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function until_ms(lease_ms) return string.format('%.0f', now_ms + lease_ms) end

if verb == 'begin' then
  local known = redis.call('HMGET', key, 'salt', 'mac', 'seed', 'token', 'until_ms', 'status',
    'headers', 'body', 'reference')
  if known[1] then
    known[5] = (tonumber(known[5]) or 0) - now_ms
    return known
  end
  redis.call('HSET', key, 'salt', ARGV[3], 'mac', ARGV[4], 'seed', ARGV[5], 'token', ARGV[6],
    'until_ms', until_ms(ARGV[7]))
  redis.call('EXPIRE', key, ARGV[8])
  return false
end

local known = redis.call('HMGET', key, 'token', 'until_ms', 'status')
if known[1] ~= ARGV[3] or known[3] then return 0 end
if verb == 'take' then
  if tonumber(known[2]) > now_ms then return 0 end
  redis.call('HSET', key, 'token', ARGV[4], 'until_ms', until_ms(ARGV[5]))
elseif verb == 'renew' then
  redis.call('HSET', key, 'until_ms', until_ms(ARGV[4]))
elseif verb == 'keep' then
  redis.call('HSET', key, 'status', ARGV[5], 'headers', ARGV[6], 'body', ARGV[7],
    'reference', ARGV[8])
  redis.call('HDEL', key, 'seed', 'until_ms')
  redis.call('EXPIRE', key, ARGV[4])
  if ARGV[9] ~= '' and redis.call('EXISTS', 'ms:run:' .. ARGV[9]) == 1 then
    redis.call('HSET', 'ms:run:' .. ARGV[9], 'answered', key)
  end
elseif verb == 'let_go' then
  redis.call('HSET', key, 'until_ms', 0)
elseif verb == 'forget' then
  redis.call('DEL', key)
end
return 1
