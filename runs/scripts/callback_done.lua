-- CALLBACK_DONE: writes down what became of an attempt, if nobody took the delivery since.
--
-- ARGV  delivery  claim  state (delivered, failed, or pending: to be tried again)  log  next_ms
--       quick (1: it was taken quickly)  why  disable (why the endpoint is switched off, or empty)  failing_ms
-- An endpoint with an address of its own is also switched off when its deliveries were given up
-- and none arrived for `failing_ms`.
-- Gives 0 somebody else has it, 1 done, 2 done and the endpoint was switched off.
--#include lib_room
--#include lib_callback
local id, claim, state, next_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local delivery = 'ms:delivery:' .. id
local known = redis.call('HMGET', delivery, 'claim', 'tenant', 'callback')
if known[1] ~= claim then return 0 end
local tenant, lane, endpoint = known[2], lane_of(known[3])
local waiting, key = 'ms:callback-lane:' .. lane, 'ms:callback:' .. endpoint
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

redis.call('ZREM', 'ms:callback-flight:' .. tenant, lane .. ' ' .. id)
redis.call('HSET', delivery, 'state', state, 'why', ARGV[7])
if ARGV[4] ~= '' then
  redis.call('HSET', delivery, 'log', ARGV[4])
  redis.call('HINCRBY', delivery, 'attempts', 1)
end
if state == 'pending' then
  redis.call('HINCRBY', delivery, 'round', 1)
  redis.call('HSET', delivery, 'next_ms', next_ms)
  redis.call('ZADD', waiting, next_ms, id)
else
  redis.call('HDEL', delivery, 'next_ms')
  redis.call('ZREM', waiting, id)
  redis.call('EXPIRE', delivery, DELIVERY_KEPT_S)
end
-- Only while it has something to send: receivers that nobody names again are not remembered.
if ARGV[6] == '1' and redis.call('EXISTS', waiting) == 1 then
  redis.call('SADD', 'ms:callback-quick:' .. tenant, lane)
else redis.call('SREM', 'ms:callback-quick:' .. tenant, lane) end
refresh_lane(tenant, lane)

-- A deleted endpoint stays deleted; one for addresses of runs is never switched off by one of them.
local of = redis.call('HMGET', key, 'tenant', 'url', 'failing_since_ms', 'state')
if not of[1] or not of[2] or of[2] == '' or of[4] ~= 'enabled' then return 1 end
if state == 'delivered' then
  redis.call('HDEL', key, 'failing_since_ms')
  return 1
end
redis.call('HSETNX', key, 'failing_since_ms', now)
local disable = ARGV[8]
if disable == '' and state == 'failed' and of[3] and now - tonumber(of[3]) >= tonumber(ARGV[9]) then
  disable = 'failing'
end
if disable == '' then return 1 end
redis.call('HSET', key, 'state', 'disabled', 'disabled_why', disable, 'disabled_ms', now)
return 2
