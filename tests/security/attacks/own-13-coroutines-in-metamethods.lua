-- class: instructions/coroutine
-- expect: limit_instructions|limit_time|limit_memory
-- must_not: coroutines started inside metamethods inside pcall inside coroutines run uncounted
local function nest(d)
  local t = setmetatable({}, {
    __index = function(_, k)
      local co = coroutine.create(function()
        pcall(function()
          for i = 1, 990 do end
          coroutine.yield()
        end)
        error("no")
      end)
      coroutine.resume(co)
      pcall(coroutine.close, co)
      if d > 0 then return nest(d - 1)[k] end
    end,
    __call = function() return coroutine.wrap(function() pcall(coroutine.yield) while true do end end) end,
  })
  return t
end
for i = 1, 100000000 do
  pcall(function() return nest(20).x end)
  pcall(function() local w = nest(0)() w() end)
end
return "ESCAPED"
