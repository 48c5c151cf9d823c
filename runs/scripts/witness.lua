-- WITNESS: a worker says which intents of writes it had written before Redis was restarted. A run
-- that lacks one is marked: executed again, it would send the write a second time.
--
-- ARGV  run_id, number of the entry: of each intent...
-- Gives the ids of the runs that lack one, those that are gone altogether included.
local lost = {}
for index = 1, #ARGV, 2 do
  local run_id, seq = ARGV[index], ARGV[index + 1] .. '-0'
  local entry = redis.call('XRANGE', 'ms:tape:' .. run_id, seq, seq)[1]
  if not entry or entry[2][2] ~= 'intent' then
    lost[#lost + 1] = run_id
    if redis.call('EXISTS', 'ms:run:' .. run_id) == 1 then
      redis.call('HSET', 'ms:run:' .. run_id, 'tape_lost', 1)
    end
  end
end
return lost
