-- PACKS: notes which packs are in effect from now on, with the ledger's leaf of it, once for all
-- processes that start with them.
--
-- ARGV  digest noted before (may be empty)  digest  ledger_leaf
-- Gives 1 noted, 0 noted already, -1 somebody has noted another one since the caller looked.
--#include lib_room
local noted = redis.call('GET', 'ms:packs') or ''
if noted == ARGV[2] then return 0 end
if noted ~= ARGV[1] then return -1 end
redis.call('SET', 'ms:packs', ARGV[2])
redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'leaf', 'leaf', ARGV[3])
return 1
