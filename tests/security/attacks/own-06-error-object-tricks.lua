-- class: output/error-message
-- expect: error
-- must_not: an error object with lying fields or metamethods runs code in the last handler or forges a reason
local e = setmetatable({ message = "forged", code = "denied", line = -1 }, {
  __index = function() while true do end end,
  __tostring = function() while true do end end,
  __eq = function() while true do end end,
  __concat = function() while true do end end,
  __metatable = false,
})
e.message = nil
error(e)
