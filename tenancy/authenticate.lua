-- AUTHENTICATE: who shows a key. Names of keys: core/keys.py.
--
-- ARGV  sha-256 of the key's text   tenant that it is to act for, empty for its own
-- Gives nil for a key that is not known; else what is kept of it, what took its place (or nil), the
-- Unix millisecond, since when its tenant is suspended (or nil), and the other tenant (or nil).
local shown = redis.call('HGET', 'ms:keys', ARGV[1])
if not shown then return false end
local key, kept = cjson.decode(shown), false
local ends = key.expires_ms
if type(key.now) == 'string' then
  kept = redis.call('HGET', 'ms:keys', key.now)
  if not kept then return false end
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local suspended = redis.call('HGET', 'ms:terms:' .. key.tenant, 'suspended_ms')
if type(ends) ~= 'number' or ends > now_ms then
  local uses = 'ms:key-uses:' .. key.tenant
  local last = tonumber(redis.call('HGET', uses, key.id) or 0)
  -- A Redis that is full or takes no writes still tells who somebody is.
  if now_ms - last >= 60000 then
    redis.pcall('HSET', uses, key.id, string.format('%d', now_ms))
  end
end
local other = ARGV[2] ~= '' and redis.call('HGET', 'ms:tenants', ARGV[2])
return { shown, kept, string.format('%d', now_ms), suspended, other }
