-- class: cpu-in-c/table-lib
-- expect: ok|limit_time|limit_instructions
-- must_not: an order that makes C's sort choose its pivots by the clock makes a call the jail refuses, or tells the time
local function killer(n) -- every pivot that C's sort chooses first is among the smallest left
  local at, order = {}, {}
  for i = 1, n do at[i] = i end
  local low, value = 1, 0
  while n - low > 2 do
    local mid = (low + n) // 2
    value = value + 1
    order[at[low]] = value
    value = value + 1
    order[at[mid]] = value
    at[mid], at[low + 1] = at[low + 1], at[mid]
    low = low + 2
  end
  for i = low, n do value = value + 1 order[at[i]] = value end
  return order
end
local shapes = {
  killer,
  function(n) local t = {} for i = 1, n do t[i] = i % 2 == 0 and i or n * 2 - i end return t end,
  function(n) local t = {} for i = 1, n do t[i] = i == 1 and n or i == n and 0 or 1 end return t end,
  function(n) local t = {} for i = 1, n do t[i] = i < n / 2 and i or n - i end return t end,
}
for i = 1, #shapes do
  local numbers = shapes[i](20000)
  local words = {}
  for j = 1, #numbers do words[j] = ("%09d"):format(numbers[j]) end
  table.sort(words)
  for j = 2, #words do if words[j - 1] > words[j] then return "ESCAPED" end end
  table.sort(numbers)
  for _ in pairs(words) do end
end
return "contained"
