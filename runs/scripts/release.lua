-- RELEASE: sends held runs of keys back to their queues that have room by now: their bound was raised
-- or taken off. As long as a bound stays, the end of a run does that.
--
-- ARGV  at most so many keys
--#include lib_keyed
for _, holder in ipairs(redis.call('SRANDMEMBER', 'ms:holding', ARGV[1])) do
  local tenant, key_id = string.match(holder, '^(.+):(.+)$')
  if redis.call('EXISTS', 'ms:held:' .. tenant .. ':' .. key_id) == 1 then
    release(tenant, key_id, RELEASED)
  else
    redis.call('SREM', 'ms:holding', holder)
  end
end
