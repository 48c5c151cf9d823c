-- How many runs a tenant may have in hand.

-- Gives the tenant's weight, and whether it may begin no further run now. `share`: at most so many
-- of one tenant for each live worker, 0 for no bound.
local function terms_of(tenant, share)
  local terms = redis.call('HMGET', 'ms:terms:' .. tenant, 'weight', 'concurrent_runs',
    'suspended_ms')
  local most = math.huge
  if share > 0 then most = share * math.max(1, redis.call('SCARD', 'rq:workers')) end
  if terms[2] then most = math.min(most, tonumber(terms[2])) end
  if terms[3] then most = 0 end
  return tonumber(terms[1] or 1), most < math.huge and running_runs(tenant) >= most
end
