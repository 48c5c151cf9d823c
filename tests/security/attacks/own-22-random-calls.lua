-- class: escape/random-calls
-- expect: ok|error|limit_instructions|limit_memory|limit_time|limit_output
-- must_not: some combination of library functions and odd arguments crashes, leaks an address or a trusted position
local functions, names = {}, {}
local function collect(path, t)
  for k, v in pairs(t) do
    if type(v) == "function" then functions[#functions + 1] = v names[#names + 1] = path .. k
    elseif type(v) == "table" and v ~= _G and path:len() < 40 then collect(path .. k .. ".", v) end
  end
end
collect("", { string = string, table = table, math = math, utf8 = utf8, coroutine = coroutine, os = os, json = json,
  regex = regex, docs = docs, integrations = app.integrations, base = { pcall = pcall, xpcall = xpcall, next = next,
  pairs = pairs, ipairs = ipairs, rawset = rawset, rawget = rawget, rawlen = rawlen, rawequal = rawequal, select = select,
  setmetatable = setmetatable, getmetatable = getmetatable, tostring = tostring, tonumber = tonumber, type = type,
  error = error, assert = assert } })
local random = math.random
local pool
local function odd()
  local n = random(24)
  if n == 1 then return nil end
  if n == 2 then return random(-3, 12) end
  if n == 3 then return random() * 1e3 end
  if n == 4 then return math.maxinteger - random(3) + 1 end
  if n == 5 then return math.mininteger + random(3) - 1 end
  if n == 6 then return ({ 0 / 0, 1 / 0, -1 / 0, -0.0, 1e308 })[random(5)] end
  if n == 7 then return ("a,b;c "):rep(random(20)) end
  if n == 8 then return ({ "%a+", "(%w)(%w)", "%", "[", "(", "^", "%f[%w]", "a-", ".-b", "%b()", "()", "[^,]*" })[random(12)] end
  if n == 9 then return ({ "%s", "%d", "%q", "%p", "%5.2f", "%c", "%x", "%", "%99999d", "%i%s" })[random(10)] end
  if n == 10 then return ({ "<i4", ">d", "z", "s1", "c100", "!16i16", "i17", "x", "Xi4" })[random(9)] end
  if n == 11 then return "\xff\0\x80" end
  if n == 12 then return { 3, 1, 2 } end
  if n == 13 then return { a = 1, b = { 2 }, [1] = "x" } end
  if n == 14 then return functions[random(#functions)] end
  if n == 15 then return coroutine.create(functions[random(#functions)]) end
  if n == 16 then return random(2) == 1 end
  if n == 17 then return setmetatable({ 1, 2 }, { __index = functions[random(#functions)], __len = functions[random(#functions)] }) end
  if n == 18 then return setmetatable({}, { __call = functions[random(#functions)], __tostring = functions[random(#functions)] }) end
  if n == 19 then return setmetatable({}, { __newindex = functions[random(#functions)], __pairs = functions[random(#functions)] }) end
  if n == 20 then return setmetatable({}, { __eq = functions[random(#functions)], __lt = functions[random(#functions)], __concat = functions[random(#functions)] }) end
  if n == 21 then return ({ app, json, regex, docs, json.null, app.integrations.demo, string, _G })[random(7)] end
  if n == 22 then return ({ '[1,2]', '{"a":[]}', "null", '{"a', "1e5", '"\\ud83d"' })[random(6)] end
  if n == 23 then return function(...) return odd(), ... end end
  return pool[random(#pool)]
end
pool = { 1 }
local function check(where, ok, v)
  if type(v) == "userdata" then return where .. ": userdata" end
  if type(v) ~= "string" then return nil end
  if v:find("0x%x%x%x%x%x%x%x") or v:find("python", 1, true) or not ok and v:find("\1", 1, true) then
    return where .. ": " .. v
  end
end
local function judge(where, ok, ...)
  for i = 1, math.min(select("#", ...), 10) do
    local v = (select(i, ...))
    local bad = check(where, ok, v)
    if bad then return bad end
    if v ~= nil then pool[#pool < 200 and #pool + 1 or random(200)] = v end
  end
end
for turn = 1, 3000 do
  local at = random(#functions)
  local arguments, n = {}, random(0, 4)
  for i = 1, n do arguments[i] = odd() end
  local bad = judge(names[at], pcall(functions[at], table.unpack(arguments, 1, n)))
  if bad then return { verdict = "ESCAPED", how = bad } end
end
return "contained"
