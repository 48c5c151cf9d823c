-- DELETES a saved script, or one of its versions. Their numbers are never given again.
--
-- ARGV  tenant  name  version, or empty for the whole script
-- Gives 1 done, 0 there is no such script or version, -1 it is the newest version, -2 an alias means
-- it.
local tenant, name, version = ARGV[1], ARGV[2], ARGV[3]
local place = tenant .. ':' .. name
local head, texts = 'ms:savedscript:' .. place, 'ms:savedtext:' .. place
local aliases, bytes = 'ms:savedalias:' .. place, 'ms:savedbytes:' .. tenant

local last = redis.call('HGET', head, 'last')
if not last then return 0 end
local function size(one)
  return redis.call('HSTRLEN', texts, one) + redis.call('HSTRLEN', head, one)
end
if version == '' then
  local freed = 0
  for _, one in ipairs(redis.call('HKEYS', texts)) do freed = freed + size(one) end
  redis.call('DECRBY', bytes, freed)
  redis.call('ZREM', 'ms:saved:' .. tenant, name)
  redis.call('HSET', 'ms:savedgone:' .. tenant, name, last)
  redis.call('DEL', head, texts, aliases)
  return 1
end
if redis.call('HEXISTS', texts, version) == 0 then return 0 end
if version == last then return -1 end
for _, means in ipairs(redis.call('HVALS', aliases)) do
  if means == version then return -2 end
end
redis.call('DECRBY', bytes, size(version))
redis.call('HDEL', texts, version)
redis.call('HDEL', head, version)
return 1
