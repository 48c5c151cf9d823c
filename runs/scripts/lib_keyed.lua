-- Where the runs of one key are, for keys that have a quota of runs at the same moment. Of these
-- runs the record has the key's id as `counted`.
--
-- `ms:queued:<tenant>:<key>` has those that are queued or wait, `ms:running:<tenant>:<key>` those
-- in the hands of workers.

local function queued_of_key(tenant, key_id)
  return redis.call('SCARD', 'ms:queued:' .. tenant .. ':' .. key_id)
end

local function enters_queue(tenant, key_id, id)
  redis.call('SREM', 'ms:running:' .. tenant .. ':' .. key_id, id)
  redis.call('SADD', 'ms:queued:' .. tenant .. ':' .. key_id, id)
end

local function enters_worker(tenant, key_id, id)
  redis.call('SREM', 'ms:queued:' .. tenant .. ':' .. key_id, id)
  redis.call('SADD', 'ms:running:' .. tenant .. ':' .. key_id, id)
end

local function leaves(tenant, key_id, id)
  redis.call('SREM', 'ms:queued:' .. tenant .. ':' .. key_id, id)
  redis.call('SREM', 'ms:running:' .. tenant .. ':' .. key_id, id)
end
