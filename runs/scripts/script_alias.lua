-- Lets an ALIAS of a saved script mean a version, or, without one, nothing any more.
--
-- ARGV  tenant  name  alias  version, or empty  now_ms  the most aliases of one script
-- Gives 1 done, 0 there is no such script, -1 no such version, -2 too many aliases, -3 no such alias.
local place = ARGV[1] .. ':' .. ARGV[2]
local head, aliases = 'ms:savedscript:' .. place, 'ms:savedalias:' .. place
if redis.call('EXISTS', head) == 0 then return 0 end
if ARGV[4] == '' then
  if redis.call('HDEL', aliases, ARGV[3]) == 0 then return -3 end
else
  if redis.call('HEXISTS', head, ARGV[4]) == 0 then return -1 end
  if redis.call('HEXISTS', aliases, ARGV[3]) == 0
    and redis.call('HLEN', aliases) >= tonumber(ARGV[6]) then return -2 end
  redis.call('HSET', aliases, ARGV[3], ARGV[4])
end
redis.call('HSET', head, 'updated_ms', ARGV[5])
return 1
