-- class: escape/info-leak
-- expect: ok|error
-- must_not: messages name files, lines or variables of the trusted prelude, or host paths
local seen = {}
local function note(...)
  local ok, e = pcall(...)
  if not ok then seen[#seen + 1] = tostring(e) end
end
note(string.rep) note(string.find, "x", "[") note(string.gsub, "x", "(", "") note(string.format, "%d", "x")
note(table.insert, nil) note(table.concat, { {} }) note(table.sort, { 1, "x" }) note(table.unpack, 1, 2, 3)
note(json.encode, print) note(json.decode, "{") note(regex.match, "x", "(") note(os.date, "%Ez") note(os.time, {})
note(coroutine.resume, 1) note(coroutine.wrap, 1) note(setmetatable, 1) note(next, {}, {}) note(pairs) note(ipairs)
note(tostring) note(select, 0) note(math.random, 2, 1) note(utf8.len, {}) note(app.integrations.demo.fail) note(rawset, app, 1, 1)
note(string.gmatch("x", "[")) note(string.match, "x", "%") note(xpcall) note(xpcall, print, 1) note(print, table.unpack({}, 1, 300))
for i = 1, #seen do
  if seen[i]:find("\1", 1, true) or seen[i]:find("/", 1, true) or seen[i]:find("0x", 1, true)
    or seen[i]:find("upvalue", 1, true) or seen[i]:find("python", 1, true) then
    return { escaped = seen[i], verdict = "ESCAPED" }
  end
end
return "contained"
