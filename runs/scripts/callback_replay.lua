-- CALLBACK_REPLAY: makes a delivery due at once, with all its attempts before it.
--
-- ARGV  tenant  delivery
-- Gives 0 the tenant has no such delivery, 1 done, -1 it is being sent, -2 its endpoint is gone,
-- -3 its endpoint is switched off.
--#include lib_callback
local tenant, id = ARGV[1], ARGV[2]
local delivery = 'ms:delivery:' .. id
local known = redis.call('HMGET', delivery, 'tenant', 'callback')
if known[1] ~= tenant then return 0 end
local lane, endpoint = lane_of(known[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local lease = redis.call('ZSCORE', 'ms:callback-flight:' .. tenant, lane .. ' ' .. id)
if lease and tonumber(lease) > now then return -1 end
local state = redis.call('HGET', 'ms:callback:' .. endpoint, 'state')
if not state then return -2 end
if state ~= 'enabled' then return -3 end
redis.call('PERSIST', delivery)
redis.call('HSET', delivery, 'state', 'pending', 'round', 0, 'next_ms', now, 'why', '')
redis.call('ZADD', 'ms:callback-lane:' .. lane, now, id)
refresh_lane(tenant, lane)
return 1
