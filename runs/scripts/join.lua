-- JOIN: puts tenants on the ring that have something queued and are not on it: tools of RQ's push
-- without knowing of the ring. One at its cap joins when one of its runs has ended, or when the
-- cap is raised: by this script.
--
-- ARGV  share (as CLAIM's)  tenants...
--#include lib_ring
--#include lib_cap
for index = 2, #ARGV do
  local tenant = ARGV[index]
  local _, full = terms_of(tenant, tonumber(ARGV[1]))
  if not full and in_all('EXISTS', 'rq:queue:', tenant) > 0 then
    redis.call('SREM', 'ms:parked', tenant)
    join_ring(tenant)
  end
end
