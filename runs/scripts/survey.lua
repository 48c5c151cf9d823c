-- SURVEY: what stands in the queues, for people who watch. Bounded: it holds up everybody.
--
-- ARGV  tenants  names
--       `tenants`: at most so many are looked at; `names`: at most so many are named.
-- Gives runs queued, time of the oldest (RQ's text, empty when there is none), tenants with
-- something queued, tenants at their cap, how many of both were looked at, and the deepest queues:
-- tenant, runs queued, time of the oldest...
--#include lib_ring
local most, names = tonumber(ARGV[1]), tonumber(ARGV[2])
local ringed, parked = redis.call('ZCARD', 'ms:ring'), redis.call('SCARD', 'ms:parked')
local tenants = redis.call('ZRANGE', 'ms:ring', 0, most - 1)
if #tenants < most and parked > 0 then
  for _, tenant in ipairs(redis.call('SRANDMEMBER', 'ms:parked', most - #tenants)) do
    tenants[#tenants + 1] = tenant
  end
end

local total, oldest, rows = 0, '', {}
for _, tenant in ipairs(tenants) do
  local depth, first = 0, ''
  for _, level in ipairs(LEVELS) do
    local list = 'rq:queue:' .. queue_of(tenant, level)
    local length = redis.call('LLEN', list)
    if length > 0 then
      depth = depth + length
      local at = redis.call('HGET', 'rq:job:' .. redis.call('LINDEX', list, 0), 'enqueued_at')
      if at and at ~= '' and (first == '' or at < first) then first = at end
    end
  end
  total = total + depth
  if first ~= '' and (oldest == '' or first < oldest) then oldest = first end
  if depth > 0 then rows[#rows + 1] = { tenant, depth, first } end
end
table.sort(rows, function(a, b) return a[2] > b[2] end)
local deepest = {}
for index = 1, math.min(names, #rows) do deepest[index] = rows[index] end
return { total, oldest, ringed, parked, #tenants, deepest }
