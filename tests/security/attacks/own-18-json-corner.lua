-- class: boundary/json
-- expect: ok|error
-- must_not: numbers, marks and holes of decoded JSON give text that is not JSON, or crash the codec
local texts = {
  "-", "-0", "1e999", "-1e999", "1e-999", "01", "1.", ".1", "1e", "0x10", "NaN", "Infinity", "nul", "tru",
  '"\\ud800"', '"\\udc00\\ud800"', '"\\u00', '"\\x"', '"\1"', "[1,]", "[,1]", '{"a"}', '{"a":}', '{a:1}',
  "[1]x", "", " ", "\xef\xbb\xbf1", "[null,null]", "[null,1,null]", '{"":{"":[]}}', ("9"):rep(300),
  "0." .. ("1"):rep(300), "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
}
for i = 1, #texts do
  local ok, v = pcall(json.decode, texts[i])
  if ok then
    local fine, again = pcall(json.encode, v)
    if fine and not pcall(json.decode, again) then return "ESCAPED" end
  end
end
local marked = json.decode("[null,1,null]")
marked[9] = 1
pcall(json.encode, marked)
marked.x = 1
pcall(json.encode, marked)
local m = regex.match("ab", "(a)(x)?(b)")
m["1"] = "twice"
m[99] = "far"
m[{}] = 1
pcall(json.encode, m)
local list = json.array({ 1, 2 })
list[1 << 50] = 3
pcall(json.encode, list)
pcall(json.encode, json.array(setmetatable({}, { __index = function() return 1 end })))
return json.encode(json.decode("[]")) == "[]" and "contained" or "ESCAPED"
