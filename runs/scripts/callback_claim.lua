-- CALLBACK_CLAIM: takes deliveries that are due, of one tenant after the other.
--
-- ARGV  most  lease_ms
-- A receiver that has just taken one quickly gets up to `LANE_AT_ONCE` at once, any other one by
-- one. All of a tenant are `TENANT_AT_ONCE`, `UNTRIED_AT_ONCE` of them to the others: who names
-- many addresses where nobody answers holds few places of a sender. What is taken is due again when
-- the lease ends.
-- Gives the milliseconds until something is due (at most 1,000; 0 if more is due now), then id and
-- claim of each delivery.
--#include lib_callback
local LANE_AT_ONCE, TENANT_AT_ONCE, UNTRIED_AT_ONCE, LOOKED_AT = 16, 64, 16, 64
local CROWDED_MS = 500
local most, lease_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local taken = {}

local function take_lane(tenant, lane, quick, in_lane, room)
  local waiting = 'ms:callback-lane:' .. lane
  local free = (quick and LANE_AT_ONCE or 1) - in_lane
  local crowded = free > 0 and room <= 0
  local count = math.max(0, math.min(free, room))
  for _, id in ipairs(count > 0
    and redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, count) or {}) do
    if redis.call('HEXISTS', 'ms:delivery:' .. id, 'tenant') == 0 then
      redis.call('ZREM', waiting, id)  -- it was erased with its run
    else
      redis.call('ZADD', waiting, now + lease_ms, id)
      redis.call('ZADD', 'ms:callback-flight:' .. tenant, now + lease_ms, lane .. ' ' .. id)
      taken[#taken + 1] = id
      taken[#taken + 1] = redis.call('HINCRBY', 'ms:delivery:' .. id, 'claim', 1)
      free, room = free - 1, room - 1
    end
  end
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  local lanes = 'ms:callback-lanes:' .. tenant
  if not first[2] then redis.call('ZREM', lanes, lane)
  -- With no place of its own it waits for the end of one of its requests, which says when it is due.
  elseif free <= 0 then redis.call('ZADD', lanes, now + lease_ms, lane)
  -- Others of its tenant have its places; those behind it may have theirs.
  elseif crowded then redis.call('ZADD', lanes, now + CROWDED_MS, lane)
  else redis.call('ZADD', lanes, math.max(tonumber(first[2]), now), lane) end
  return room
end

local function take_tenant(tenant)
  local flight, lanes = 'ms:callback-flight:' .. tenant, 'ms:callback-lanes:' .. tenant
  redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
  local quick_lanes = 'ms:callback-quick:' .. tenant
  local in_lane, quick, total, untried = {}, {}, 0, 0
  local function is_quick(lane)
    if quick[lane] == nil then quick[lane] = redis.call('SISMEMBER', quick_lanes, lane) == 1 end
    return quick[lane]
  end
  for _, member in ipairs(redis.call('ZRANGE', flight, 0, -1)) do
    local lane = string.match(member, '^(.*) ')
    in_lane[lane], total = (in_lane[lane] or 0) + 1, total + 1
    if not is_quick(lane) then untried = untried + 1 end
  end
  for _, lane in ipairs(redis.call('ZRANGEBYSCORE', lanes, '-inf', now, 'LIMIT', 0, LOOKED_AT)) do
    local most_now = math.min(TENANT_AT_ONCE - total, most - #taken / 2)
    if most_now <= 0 then break end
    local room = is_quick(lane) and most_now or math.min(most_now, UNTRIED_AT_ONCE - untried)
    local took = room - take_lane(tenant, lane, is_quick(lane), in_lane[lane] or 0, room)
    total = total + took
    if not is_quick(lane) then untried = untried + took end
  end
  redis.call('PEXPIRE', flight, 2 * lease_ms)
  local due = redis.call('ZRANGE', lanes, 0, 0, 'WITHSCORES')
  if not due[2] then redis.call('ZREM', 'ms:callbacks-due', tenant)
  elseif total >= TENANT_AT_ONCE then redis.call('ZADD', 'ms:callbacks-due', now + lease_ms, tenant)
  -- Behind those that are due longer: one tenant's many lanes must not stand before all others.
  else redis.call('ZADD', 'ms:callbacks-due', math.max(tonumber(due[2]), now), tenant) end
end

for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', 'ms:callbacks-due', '-inf', now,
  'LIMIT', 0, LOOKED_AT)) do
  if #taken / 2 >= most then break end
  take_tenant(tenant)
end

local next_due = redis.call('ZRANGE', 'ms:callbacks-due', 0, 0, 'WITHSCORES')[2]
local rest_ms = next_due and math.max(0, math.min(1000, tonumber(next_due) - now)) or 1000
return { rest_ms, unpack(taken) }
