-- What the scripts share that end something and tell somebody: the outbox of callbacks.
--
-- Deliveries of one lane go to one receiver. A tenant has lanes, each with deliveries by the time
-- at which they are due; what is being sent stays there, due again when its sender's lease ends.
local LANE_DELIVERIES, TENANT_LANES, KEPT_INDEX = 100000, 1000, 1000
local DELIVERY_KEPT_S = 30 * 86400

-- Gives the lane of a `callback`: an endpoint's id, and for an address of a run's own a space and
-- that address, whose host then has a lane for itself.
local function lane_of(callback)
  local endpoint, url = string.match(callback .. ' ', '^(%S*) (.*)$')
  local origin = string.match(url, '^%a+://[^/?# ]+')
  return origin and endpoint .. '|' .. origin or endpoint, endpoint
end

-- Says when a lane and its tenant are next due, from what is in them.
local function refresh_lane(tenant, lane)
  local lanes = 'ms:callback-lanes:' .. tenant
  local first = redis.call('ZRANGE', 'ms:callback-lane:' .. lane, 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', lanes, first[2], lane)
  else redis.call('ZREM', lanes, lane) end
  local due = redis.call('ZRANGE', lanes, 0, 0, 'WITHSCORES')
  if due[2] then redis.call('ZADD', 'ms:callbacks-due', due[2], tenant)
  else redis.call('ZREM', 'ms:callbacks-due', tenant) end
end

-- Writes down that somebody is to be told of an end. `subject` is the id of what ended; the
-- delivery's own is made of it, so that the same end is the same delivery. `facts` is JSON text
-- that goes into the payload as it is, or ''.
local function queue_callback(tenant, callback, kind, subject, state, reason, at_ms, facts)
  local lane, endpoint = lane_of(callback)
  local id = 'dlv_' .. string.sub(subject, -26)
  local delivery, waiting = 'ms:delivery:' .. id, 'ms:callback-lane:' .. lane
  redis.call('HSET', delivery, 'tenant', tenant, 'callback', callback, 'kind', kind,
    'subject', subject, 'outcome', state, 'reason', reason, 'at_ms', at_ms, 'facts', facts,
    'state', 'pending', 'attempts', 0, 'round', 0, 'claim', 0)
  local index = 'ms:deliveries:' .. endpoint
  redis.call('ZADD', index, at_ms, id)
  redis.call('ZREMRANGEBYRANK', index, 0, -1 - KEPT_INDEX)
  redis.call('EXPIRE', index, 4 * DELIVERY_KEPT_S)
  if redis.call('ZCARD', waiting) >= LANE_DELIVERIES
    or (redis.call('EXISTS', waiting) == 0
      and redis.call('ZCARD', 'ms:callback-lanes:' .. tenant) >= TENANT_LANES) then
    redis.call('HSET', delivery, 'state', 'failed', 'why', 'backlog_full')
    redis.call('EXPIRE', delivery, DELIVERY_KEPT_S)
    return
  end
  redis.call('ZADD', waiting, at_ms, id)
  redis.call('ZADD', 'ms:callback-lanes:' .. tenant, 'LT', at_ms, lane)
  redis.call('ZADD', 'ms:callbacks-due', 'LT', at_ms, tenant)
end
