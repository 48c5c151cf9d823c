-- PACKS: notes with which packs processes of a role start, with the ledger's leaf of it: once for
-- all that start with them.
--
-- ARGV  role  digest noted for it before (may be empty)  digest  ledger_leaf
-- Gives 1 noted, with a leaf; 0 nothing new: it was noted already, or another role has the same; -1
-- somebody has noted another one since the caller looked.
--#include lib_room
local role, digest = ARGV[1], ARGV[3]
local noted, known = redis.call('HGETALL', 'ms:catalogs'), {}
for index = 1, #noted, 2 do known[noted[index]] = noted[index + 1] end
if known[role] == digest then return 0 end
if (known[role] or '') ~= ARGV[2] then return -1 end
redis.call('HSET', 'ms:catalogs', role, digest)
for _, other in pairs(known) do
  if other == digest then return 0 end
end
redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'leaf', 'leaf', ARGV[4])
return 1
