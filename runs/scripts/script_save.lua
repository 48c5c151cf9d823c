-- SAVE a version of a script, or find that its last version is the same. A version is never changed.
--
-- ARGV  tenant  name  now_ms  digest of all that makes a version  its terms, JSON  its text
--       bytes of both  alias that is to mean it, or empty
--       the most scripts, names ever used, versions of one, bytes in all, aliases of one
-- Gives { what, version }: 1 saved, 0 there already, -1 too many scripts, -2 too many names, -3 too
-- many versions, -4 too many bytes, -5 too many aliases.
local tenant, name, now_ms = ARGV[1], ARGV[2], ARGV[3]
local names, gone = 'ms:saved:' .. tenant, 'ms:savedgone:' .. tenant
local place = tenant .. ':' .. name
local head, texts = 'ms:savedscript:' .. place, 'ms:savedtext:' .. place
local aliases, bytes = 'ms:savedalias:' .. place, 'ms:savedbytes:' .. tenant
local alias = ARGV[8]

local known = redis.call('HMGET', head, 'last', 'digest')
if alias ~= '' and redis.call('HEXISTS', aliases, alias) == 0
  and redis.call('HLEN', aliases) >= tonumber(ARGV[13]) then return { -5, 0 } end
if known[1] and known[2] == ARGV[4] then
  if alias ~= '' then redis.call('HSET', aliases, alias, known[1]) end
  return { 0, tonumber(known[1]) }
end
local last = known[1] or redis.call('HGET', gone, name)
if not known[1] then
  local count = redis.call('ZCARD', names)
  if count >= tonumber(ARGV[9]) then return { -1, 0 } end
  if not last and count + redis.call('HLEN', gone) >= tonumber(ARGV[10]) then return { -2, 0 } end
end
if redis.call('HLEN', texts) >= tonumber(ARGV[11]) then return { -3, 0 } end
local used = tonumber(redis.call('GET', bytes) or 0)
if used + tonumber(ARGV[7]) > tonumber(ARGV[12]) then return { -4, 0 } end

local version = tonumber(last or 0) + 1
if not known[1] then redis.call('HSET', head, 'created_ms', now_ms) end
redis.call('HSET', head, 'last', version, 'digest', ARGV[4], 'updated_ms', now_ms, version, ARGV[5])
redis.call('HSET', texts, version, ARGV[6])
redis.call('INCRBY', bytes, ARGV[7])
redis.call('ZADD', names, 0, name)
redis.call('HDEL', gone, name)
if alias ~= '' then redis.call('HSET', aliases, alias, version) end
return { 1, version }
