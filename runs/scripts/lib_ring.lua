-- How tenants take turns, and the runs of one tenant among themselves.
--
-- `ms:ring` has each tenant with something queued, by its place in line. Below 0: it was idle and
-- starts next, by the microsecond at which it came. From 0 on: the virtual time of its next turn.
-- A turn moves a tenant on by 1 / weight. `ms:turns` has the virtual time itself, as the score of
-- the empty name, and tenants that left the ring before it reached their next turn: whoever leaves
-- and comes back gains nothing by it.

local LEVELS = { 'high', 'normal', 'low' }
-- So often in a row a queue may be passed over by those above it.
local PATIENCE = 9

local function queue_of(tenant, priority) return 't.' .. tenant .. '.' .. (priority or 'normal') end

local function tenant_of(queue) return string.match(queue, '^t%.(.+)%.%a+$') end

-- The place of a tenant that has something queued again.
local function join_ring(tenant)
  if redis.call('ZSCORE', 'ms:ring', tenant) then return end
  local due = tonumber(redis.call('ZSCORE', 'ms:turns', tenant))
  if not due or due <= tonumber(redis.call('ZSCORE', 'ms:turns', '') or 0) then
    local time = redis.call('TIME')
    due = time[1] * 1000000 + time[2] - 2 ^ 52
  end
  redis.call('ZADD', 'ms:ring', due, tenant)
end

-- Lets a tenant at its cap have a turn again: one of its runs holds no slot any more.
local function unpark(queue)
  local tenant = tenant_of(queue)
  if tenant and redis.call('SREM', 'ms:parked', tenant) == 1 then join_ring(tenant) end
end

-- Puts a job that has been out of its queue back to the front of it.
local function push_front(queue, id)
  redis.call('SADD', 'rq:queues', 'rq:queue:' .. queue)
  redis.call('LPUSH', 'rq:queue:' .. queue, id)
  join_ring(tenant_of(queue))
end

-- How much of something a tenant has in all its queues: `command` counts what one of them has.
local function in_all(command, prefix, tenant)
  local count = 0
  for _, level in ipairs(LEVELS) do
    count = count + redis.call(command, prefix .. queue_of(tenant, level))
  end
  return count
end

-- How many runs of a tenant are queued or wait. One that waits is scheduled for RQ: it takes no
-- slot, and memory for as long as it likes.
local function queued_runs(tenant)
  return in_all('LLEN', 'rq:queue:', tenant) + in_all('ZCARD', 'rq:scheduled:', tenant)
end

-- How many runs of a tenant are in the hands of workers, all workers together.
local function running_runs(tenant) return in_all('ZCARD', 'rq:wip:', tenant) end

-- Tells the queue of a tenant that its next run is taken from: the highest that has one, or one
-- below it that was passed over often enough. Gives nil when all are empty.
local function next_queue(tenant)
  local there = {}
  for _, level in ipairs(LEVELS) do
    local queue = queue_of(tenant, level)
    if redis.call('EXISTS', 'rq:queue:' .. queue) == 1 then there[#there + 1] = queue end
  end
  if #there < 2 then return there[1] end
  local chosen = there[1]
  for index = 2, #there do
    local passed = tonumber(redis.call('HGET', 'ms:passed', there[index]) or 0)
    if passed >= PATIENCE then
      chosen = there[index]
      break
    end
  end
  for index = 2, #there do
    if there[index] ~= chosen then redis.call('HINCRBY', 'ms:passed', there[index], 1) end
  end
  redis.call('HDEL', 'ms:passed', chosen)
  return chosen
end
