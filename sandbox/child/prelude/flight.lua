-- Calls in flight: how a call leaves, and how its reply is waited for.
--
-- A reply is taken from the socket only when nothing else can go on, one at a time, in the order in
-- which the host sends them, which is the order of the tape. So what a script does depends on that
-- order and never on the time at which a reply came.

local P = ...
local real = P.real
local isyieldable, yield = P.coroutine.isyieldable, P.coroutine.yield
local type, hostcall = real.type, P.hostcall
local charge, flush, headroom = P.charge, P.flush, P.headroom
local WAITS = P.WAITS

-- Calls without a reply at once; the host refuses more.
local MOST = 64
-- What a coroutine may wait for, besides the number of a call or a group of tasks.
local ROOM = 0

local outstanding = 0
local inbox, is_value = {}, {} -- by number of call: replies that were received and not yet used
local owners = {} -- by number of call: the task to go on with when its reply is there

-- How many schedulers stand on the stack.
P.driving = 0

local function receive()
  if outstanding == 0 then P.raise("no reply is awaited") end
  flush()
  local told = hostcall("wait")
  outstanding = outstanding - 1
  local seq, length = told >> 32, told >> 1 & 0x7FFFFFFF
  charge(length // 16)
  headroom(length + 8)
  inbox[seq], is_value[seq] = hostcall("take"), told & 1 == 1
  local owner = owners[seq]
  if owner ~= nil then
    owners[seq] = nil
    P.wake(owner)
  end
end

-- Waits without giving way to anything: for a reply, for room, or for a group of tasks. What comes
-- meanwhile for others is kept for them.
local function block(what)
  if type(what) == "table" then return P.drive(what) end
  if what == ROOM then
    while outstanding >= MOST do receive() end
  else
    while inbox[what] == nil do receive() end
  end
end

-- Waits, and lets other tasks go on where this coroutine can be left: not within a function of C.
local function suspend(what)
  if P.driving > 0 and isyieldable() then yield(WAITS, what) end
  block(what) -- there is nothing to wait for any more, after a scheduler has gone on with it
end

-- Makes a call, and gives whether its reply is a value, and the reply.
function P.ask(text)
  flush()
  headroom(#text)
  if P.driving == 0 and outstanding == 0 then
    local told = hostcall("call", text)
    local length = told >> 1 & 0x7FFFFFFF
    charge(length // 16)
    headroom(length + 8)
    return told & 1 == 1, hostcall("take")
  end
  while outstanding >= MOST do suspend(ROOM) end
  flush()
  local seq = hostcall("send", text)
  outstanding = outstanding + 1
  suspend(seq)
  local ok, reply = is_value[seq], inbox[seq]
  is_value[seq], inbox[seq] = nil, nil
  return ok, reply
end

-- Waits for what is still in flight. Nobody wants it: whoever asked was left by an error in the
-- scheduler itself, for which a script must have filled the stack.
function P.land()
  while outstanding > 0 do
    receive()
    inbox, is_value = {}, {}
  end
end

function P.has_room() return outstanding < MOST end
function P.expect(seq, task) owners[seq] = task end

P.ROOM, P.receive, P.block, P.suspend = ROOM, receive, block, suspend
