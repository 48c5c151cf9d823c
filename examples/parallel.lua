-- Four pages at a time: the calls are in flight together, the results keep the order of the pages.
local pages = parallel.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function(page)
  return app.integrations.mux.list_assets({ limit = 1, page = page }).data
end, { concurrency = 4 })

local found = 0
for _, assets in ipairs(pages) do
  found = found + #assets
end
print("found " .. found .. " assets on " .. #pages .. " pages")

-- Different calls at once, each with its own error.
local live, missing = table.unpack(parallel.all({
  function() return #app.integrations.mux.list_live_streams({ limit = 5 }).data end,
  function()
    local ok, problem = pcall(app.integrations.mux.get_asset, { asset_id = "missing" })
    return ok and "there" or problem.code
  end,
}))
print(live, missing)
