-- SURVEY: what some tenants have queued, for people who watch. Asked for few at a time: it holds up
-- everybody.
--
-- ARGV  tenants...
-- Gives for each: runs queued, and when the oldest came (RQ's text, empty when there is none).
--#include lib_ring
local rows = {}
for index, tenant in ipairs(ARGV) do
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
  rows[index] = { depth, first }
end
return rows
