-- class: instructions/c-callback
-- expect: ok|error
-- must_not: a comparator that yields, fails or changes the table leaves the sort inconsistent or crashes it
local t = {}
for i = 1, 200 do t[i] = (i * 7919) % 211 end
local co = coroutine.wrap(function()
  table.sort(t, function(a, b)
    coroutine.yield("pause")
    t[#t + 1] = 0
    t[1] = nil
    setmetatable(t, { __newindex = function() error("written") end, __index = function() error("read") end })
    return a < b
  end)
end)
for i = 1, 3000 do if not pcall(co) then break end end
pcall(table.sort, { 3, 1, 2 }, function() return true end)
pcall(table.sort, { 3, 1, 2 }, function() error({}) end)
pcall(table.sort, { 0 / 0, 1, 0 / 0, 2 })
return "contained"
