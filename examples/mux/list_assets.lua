local result = app.integrations.mux.list_assets({
  limit = 10,
  page = 0
})

for _, asset in ipairs(result.data) do
  print(asset.id .. " — " .. (asset.status or "unknown"))
end
