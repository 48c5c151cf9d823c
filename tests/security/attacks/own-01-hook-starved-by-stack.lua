-- class: instructions/stack-pressure
-- expect: limit_instructions|limit_time|limit_memory
-- must_not: with the Lua stack full the hook itself overflows it, so loops at the limit are never counted
local function spin() for i = 1, 3000 do end end
local function down(n)
  local ok = pcall(down, n + 1)
  for i = 1, 50 do pcall(spin) end
end
while true do down(1) end
