-- regex.match, match_all and gsub. Matching is done by RE2 in the process outside the Lua state
-- (linear time, same jail); only byte offsets come back. A match is a table: [0] the whole text,
-- [1], [2] ... the groups, named groups also under their names.

local P = ...
local real, string = P.real, P.string
local setmetatable = real.setmetatable
local type, math_type, unpack = real.type, P.math.type, string.unpack
local sub, find, match, pack, rep = string.sub, string.find, string.match, string.pack, string.rep
local concat, raise, tostring = P.table.concat, P.raise, P.tostring
local charge, flush, headroom, hostcall, sample = P.charge, P.flush, P.headroom, P.hostcall, P.sample

local LONGEST_PATTERN, LONGEST_SUBJECT = 8192, 4 * 1024 * 1024
local FEE = 500
local LARGEST_ANSWER = 65536 -- what the host gives at once, at most
local EVERY = P.math.maxinteger

-- Patterns may be written as in PHP, /.../flags; the flags become RE2's.
local function plain_pattern(pattern, name)
  local inner, flags = match(pattern, "^/(.*)/(%a*)$")
  if inner == nil then return pattern end
  flags = string.gsub(flags, "u", "")
  if find(flags, "[^imsU]") then
    raise(name .. ": unknown flag in /.../" .. flags .. "; known flags: i, m, s, u, U")
  end
  inner = string.gsub(inner, "\\/", "/")
  return flags == "" and inner or "(?" .. flags .. ")" .. inner
end

local function check(subject, pattern, name)
  if type(subject) ~= "string" then
    raise(name .. ": the subject (first argument) must be a string, got " .. type(subject))
  end
  if type(pattern) ~= "string" then
    raise(name .. ": the pattern (second argument) must be a string, got " .. type(pattern))
  end
  if #pattern > LONGEST_PATTERN then
    raise(name .. ": pattern of " .. #pattern .. " bytes; at most " .. LONGEST_PATTERN .. " allowed")
  end
  if #subject > LONGEST_SUBJECT then
    raise(name .. ": subject of " .. #subject .. " bytes; at most " .. LONGEST_SUBJECT .. " allowed")
  end
end

-- What the host answered: E and a message; or M, how many groups, whether there is more, the
-- names of groups, then per match the offsets of the whole and of each group (-1: took no part).
local function read_answer(answer, name, matches)
  if sub(answer, 1, 1) == "E" then raise(name .. ": " .. sub(answer, 2)) end
  local groups, more, names_n, at = unpack("<I4I1I4", answer, 2)
  local names = {}
  for i = 1, names_n do
    local index, group
    index, group, at = unpack("<I4s4", answer, at)
    names[i] = { index, group }
  end
  local count = 2 * (groups + 1)
  local layout = "<" .. rep("i4", count)
  local n = #matches
  while at <= #answer do
    n = n + 1
    local offsets = { unpack(layout, answer, at) }
    at = offsets[count + 1]
    matches[n] = offsets
  end
  return groups, names, more == 1
end

-- All matches of a pattern, at most `most`: their offsets, the number of groups, their names.
local function search(subject, pattern, most, name)
  check(subject, pattern, name)
  pattern = plain_pattern(pattern, name)
  charge(FEE + #subject + #pattern)
  flush()
  headroom(LARGEST_ANSWER + #subject + #pattern)
  local payload = pack("<s4s4", pattern, subject)
  local matches = {}
  local answer = hostcall("regex", payload, most)
  local groups, names, more = read_answer(answer, name, matches)
  while more and #matches < most do
    charge(FEE)
    headroom(LARGEST_ANSWER)
    answer = hostcall("regex_more", "", most - #matches)
    groups, names, more = read_answer(answer, name, matches)
  end
  sample()
  return matches, groups, names
end

local function as_table(subject, offsets, groups, names, mark)
  local found = setmetatable({}, mark)
  for i = 0, groups do
    local first, last = offsets[2 * i + 1], offsets[2 * i + 2]
    if first >= 0 then found[i] = sub(subject, first + 1, last) end
  end
  for i = 1, #names do found[names[i][2]] = found[names[i][1]] end
  return found
end

local regex = {}

function regex.match(subject, pattern)
  local matches, groups, names = search(subject, pattern, 1, "regex.match")
  if matches[1] == nil then return nil end
  return as_table(subject, matches[1], groups, names, P.match_mark(groups))
end

function regex.match_all(subject, pattern)
  local matches, groups, names = search(subject, pattern, EVERY, "regex.match_all")
  local found, mark = {}, P.match_mark(groups)
  for i = 1, #matches do found[i] = as_table(subject, matches[i], groups, names, mark) end
  return P.json.array(found)
end

-- --- gsub -----------------------------------------------------------------------------------

-- Takes a replacement text apart: literal pieces, and group numbers or names as tables. $1, ${1},
-- ${name}, \1 and $0 stand for groups, $$ for a dollar sign.
local function template_of(text)
  local pieces, n, at = {}, 0, 1
  while true do
    local first = find(text, "[$\\]", at)
    n = n + 1
    pieces[n] = sub(text, at, (first or 0) - 1)
    if first == nil then return pieces end
    local group, stop = match(text, "^[$\\](%d%d?)()", first)
    if group == nil then group, stop = match(text, "^%${([%w_]+)}()", first) end
    n = n + 1
    if group ~= nil then
      pieces[n], at = { real.tonumber(group) or group }, stop
    elseif match(text, "^%$%$", first) or match(text, "^\\\\", first) then
      pieces[n], at = sub(text, first, first), first + 2
    else
      pieces[n], at = sub(text, first, first), first + 1
    end
  end
end

local function fill(pieces, found)
  local out = {}
  for i = 1, #pieces do
    local piece = pieces[i]
    out[i] = type(piece) == "table" and (found[piece[1]] or "") or piece
  end
  return concat(out)
end

local function replacement(by, found, template)
  if template then return fill(template, found) end
  local value
  if type(by) == "function" then
    value = by(found)
  else
    value = by[found[1] or found[0]]
  end
  if value == nil or value == false then return found[0] end
  if type(value) == "number" then return tostring(value) end
  if type(value) ~= "string" then raise("regex.gsub: invalid replacement (a " .. type(value) .. ")") end
  return value
end

function regex.gsub(subject, pattern, by, limit)
  local kind = type(by)
  if kind ~= "string" and kind ~= "function" and kind ~= "table" then
    raise("regex.gsub: the replacement (third argument) must be a string, function or table, got " .. kind)
  end
  if limit ~= nil and math_type(limit) ~= "integer" then raise("regex.gsub: the limit must be an integer") end
  if limit == nil or limit < 0 then limit = EVERY end
  if limit == 0 then return subject, 0 end
  local matches, groups, names = search(subject, pattern, limit, "regex.gsub")
  local template = kind == "string" and template_of(by) or nil
  local out, n, at, mark = {}, 0, 1, P.match_mark(groups)
  for i = 1, #matches do
    local offsets = matches[i]
    local new = replacement(by, as_table(subject, offsets, groups, names, mark), template)
    charge(#new // 16)
    out[n + 1], out[n + 2] = sub(subject, at, offsets[1]), new
    n, at = n + 2, offsets[2] + 1
  end
  out[n + 1] = sub(subject, at)
  local text = concat(out)
  sample()
  return text, #matches
end

P.regex = regex
