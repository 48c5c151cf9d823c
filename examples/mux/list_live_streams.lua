local result = app.integrations.mux.list_live_streams({
  limit = 10
})

for _, stream in ipairs(result.data) do
  print(stream.id .. " — " .. (stream.status or "unknown"))
end
