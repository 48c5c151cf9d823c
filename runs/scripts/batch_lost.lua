-- BATCH_LOST: counts items as expired whose runs are gone although they never ended: somebody
-- deleted them. Without it their batch would never end.
--
-- ARGV  batch_id  now_ms  index and run_id of each
-- Gives how many were gone.
--#include lib_room
--#include lib_batch
local id, count = ARGV[1], 0
for place = 3, #ARGV, 2 do
  local item, run_id = ARGV[place], ARGV[place + 1]
  local byte = string.byte(redis.call('GETRANGE', 'ms:batch:' .. id .. ':ends', item, item)) or 0
  if byte == 0 and redis.call('EXISTS', 'ms:run:' .. run_id) == 0 then
    batch_ended(id, item, 'expired', ARGV[2])
    count = count + 1
  end
end
return count
