-- sleep, wait_for and approval.request. Each wait is a call: it stands on the tape, and the host
-- decides whether the script is kept meanwhile or let go and run again over its tape.

local P = ...
local real, export = P.real, P.export
local type, error, rawget, setmetatable = real.type, real.error, real.rawget, real.setmetatable
local ceil, tointeger = P.math.ceil, P.math.tointeger
local call, raise, show_name = P.call, P.raise, P.show_name

local SLEEP, APPROVAL = '["run",null,"sleep",[', '["run",null,"approval",['
local MOST_S = 400 * 86400 -- the host allows less, and says how much
local EVERY_S, TIMEOUT_S = 5, 300
local LONGEST_TITLE = 200

local function milliseconds(what, given, least)
  if type(given) ~= "number" or not (given >= least and given <= MOST_S) then
    raise(what .. " must be a number of seconds from " .. least .. " to " .. MOST_S .. ", not "
      .. (type(given) == "number" and P.tostring(given) or "a " .. type(given)))
  end
  return tointeger(ceil(given * 1000))
end

local function check_options(path, options, known, names)
  if type(options) ~= "table" then raise(path .. ": a table like " .. names .. " is expected, not a " .. type(options)) end
  local keys, n = P.snapshot(options)
  for i = 1, n do
    if type(keys[i]) ~= "string" or not known[keys[i]] then
      raise(path .. ": unknown option " .. show_name(keys[i]) .. "; known: " .. names)
    end
  end
end

export["sleep"] = function(seconds)
  call("sleep", SLEEP, milliseconds("sleep: the time", seconds, 0))
end

local WAIT_OPTIONS = { every = true, timeout = true }

local function timed_out(timeout_ms, tries)
  local message = "wait_for: the function gave nothing true within " .. timeout_ms / 1000 .. " s ("
    .. tries .. " tries); give a longer timeout, or look why it never comes true"
  error(setmetatable({ code = "timeout", message = message }, P.ERROR), 0)
end

export["wait_for"] = function(fn, options)
  if type(fn) ~= "function" then raise("wait_for: the first argument is a function, not a " .. type(fn)) end
  local every, timeout = EVERY_S, TIMEOUT_S
  if options ~= nil then
    check_options("wait_for", options, WAIT_OPTIONS, "{ every = 5, timeout = 300 }")
    every, timeout = rawget(options, "every") or every, rawget(options, "timeout") or timeout
  end
  local every_ms = milliseconds("wait_for: every", every, 0.1)
  local timeout_ms = milliseconds("wait_for: timeout", timeout, 0)
  local until_ms, tries = P.clock_ms + timeout_ms, 0
  while true do
    tries = tries + 1
    local value = fn()
    if value then return value end
    local left = until_ms - P.clock_ms
    if left <= 0 then timed_out(timeout_ms, tries) end
    call("wait_for", SLEEP, left < every_ms and left or every_ms)
  end
end

local ASK_OPTIONS = { title = true, details = true, timeout = true }

local function request(options)
  check_options("approval.request", options, ASK_OPTIONS, '{ title = "...", details = ..., timeout = seconds }')
  local title, timeout = rawget(options, "title"), rawget(options, "timeout")
  if type(title) ~= "string" or #title == 0 or #title > LONGEST_TITLE then
    raise("approval.request: title must be a text of 1 to " .. LONGEST_TITLE .. " bytes that says what is to be approved")
  end
  if timeout ~= nil then timeout = milliseconds("approval.request: timeout", timeout, 1) end
  return call("approval.request", APPROVAL, title, rawget(options, "details"), timeout)
end

P.approval = { request = request }
