-- class: instructions/message-handler
-- expect: limit_instructions|limit_time|limit_memory
-- must_not: a message handler that fails again and again runs uncounted
while true do
  xpcall(error, function(e)
    for i = 1, 900 do end
    error(e)
  end)
end
