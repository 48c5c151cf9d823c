-- class: memory/host-boundary
-- expect: limit_memory|limit_time|error|ok
-- must_not: with the heap full, print, regex, docs, an error or the result jump over the host's frames
local function fill(size)
  while size >= 1 do
    pcall(function() while true do KEEP = { ("a"):rep(size), KEEP } end end)
    size = size // 2
  end
end
pcall(fill, 1 << 20)
pcall(print, "x")
pcall(regex.match, ("a"):rep(1000), "a+")
pcall(docs.read, "mux")
pcall(json.decode, "[1,2,3]")
pcall(app.integrations.demo.fail, {})
coroutine.wrap(function() pcall(fill, 1 << 10) print("y") end)()
return { 1, 2, 3 }
