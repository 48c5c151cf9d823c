-- class: instructions/plain-loop
-- expect: ok|error|limit_instructions
-- must_not: changing a table while it is walked loops for ever in trusted code, or loses keys that stayed
local t = {}
for i = 1, 300 do t["k" .. i] = i t[i * 3] = i end
local count = 0
for k in pairs(t) do count = count + 1 t[k] = nil t["new" .. count] = nil end
if next(t) ~= nil or count ~= 600 then return "ESCAPED" end
local u = {}
for i = 1, 50 do u["k" .. i] = i end
local seen = 0
local k = next(u)
while k ~= nil do
  seen = seen + 1
  if next(u) == nil then return "ESCAPED" end
  if seen % 2 == 0 then u[k] = nil end
  for _ in next, { a = 1, b = 2, [u] = 3 } do end
  k = next(u, k)
end
return seen == 50 and "contained" or "ESCAPED"
