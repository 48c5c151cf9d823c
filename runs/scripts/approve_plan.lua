-- APPROVE_PLAN: a person approves the plan of a run, once, and the ledger's inbox is told.
--
-- ARGV  run_id  tenant  digest  approval  ledger_leaf
-- Gives 1 approved, 0 no such run, -1 no plan or not ended well, -2 another digest, -3 approved
-- already.
--#include lib_begin
local run, tenant = 'ms:run:' .. ARGV[1], ARGV[2]
local known = redis.call('HMGET', run, 'tenant', 'mode', 'state', 'plan_sha256', 'plan_approved')
if known[1] ~= tenant then return 0 end
if known[2] ~= 'plan' or known[3] ~= 'succeeded' or not known[4] then return -1 end
if known[4] ~= ARGV[3] then return -2 end
if known[5] then return -3 end
redis.call('HSET', run, 'plan_approved', ARGV[4])
redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'leaf', 'leaf', ARGV[5])
return 1
