-- RECORDS_OF: what is kept of a tenant's keys. A rotation moves a record to another field: index
-- and record have to be read in one step. Names of keys: core/keys.py.
--
-- ARGV  tenant  key id, empty for all
-- Gives the records; none when there is no such key.
local owned = 'ms:keys:' .. ARGV[1]
local digests = ARGV[2] == '' and redis.call('HVALS', owned) or redis.call('HMGET', owned, ARGV[2])
if not digests[1] then return {} end
return redis.call('HMGET', 'ms:keys', unpack(digests))
