-- ANSWER: somebody approves or denies what a run asked; the run goes on if it waits.
--
-- ARGV  run_id  tenant  n  decision  comment (may be empty)  by  iso  ledger leaf
-- Gives a word, and the question and the answer as they are kept, as far as there are any:
-- `unknown`, `ended` (the run has), `expired`, `other` (it was answered otherwise), `known` (the
-- same answer was given before), `taken`.
--#include lib_begin
--#include lib_wait
local id, tenant, n = ARGV[1], ARGV[2], ARGV[3]
local approvals = 'ms:approvals:' .. id
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', 'ms:run:' .. id, 'state', 'tenant', 'priority')
local kept = redis.call('HMGET', approvals, n, 'a:' .. n)
if not found[1] or found[2] ~= tenant or not kept[1] then return { 'unknown' } end
if kept[2] then
  local before = cjson.decode(kept[2])
  local same = before.decision == ARGV[4] and (before.comment or '') == ARGV[5]
  return { same and 'known' or 'other', kept[1], kept[2] }
end
if found[1] ~= 'waiting' and found[1] ~= 'running' then return { 'ended', kept[1] } end
-- A worker that finds nothing at this time or later may count on it that nothing comes.
if now_ms >= cjson.decode(kept[1]).until_ms then return { 'expired', kept[1] } end

local answer = { decision = ARGV[4], by = ARGV[6], at_ms = now_ms }
if ARGV[5] ~= '' then answer.comment = ARGV[5] end
local text = cjson.encode(answer)
redis.call('HSET', approvals, 'a:' .. n, text)
redis.call('ZREM', 'ms:asked:' .. tenant, id .. '|' .. n)
redis.call('XADD', 'ms:ledger:inbox', '*', 'kind', 'leaf', 'leaf', ARGV[8])
wake(queue_of(tenant, found[3]), id, ARGV[7])
return { 'taken', kept[1], text }
