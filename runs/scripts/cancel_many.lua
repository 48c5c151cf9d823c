-- CANCEL_MANY: ends those of some runs at once that are queued.
--
-- ARGV  tenant  tape_body  error  run ids...
-- Gives for each its state as found, empty when this tenant has no such run.
--#include lib_room
--#include lib_unqueue
--#include lib_ring
local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_ms = string.format('%d', now_s * 1000 + math.floor(time[2] / 1000))
local states = {}
for index = 4, #ARGV do
  local id = ARGV[index]
  local found = redis.call('HMGET', 'ms:run:' .. id, 'state', 'tenant', 'priority')
  local state = found[2] == ARGV[1] and found[1] or ''
  if state == 'queued' then
    unqueue(queue_of(ARGV[1], found[3]), id, now_s, 1)
    end_run(id, now_ms, 'cancelled', 'cancelled', ARGV[2], { 'error', ARGV[3] })
  end
  states[#states + 1] = state
end
return states
