-- class: instructions/stack-pressure
-- expect: limit_instructions|limit_time|limit_memory
-- must_not: with the C stack full the hook cannot be called, so loops at the limit are never counted
local function spin() for i = 1, 3000 do end end
local function down(s)
  pcall(string.gsub, s, ".", down)
  for i = 1, 200 do pcall(spin) end
end
while true do down("x") end
