local result = app.integrations.mux.get_asset({
  asset_id = "abc123xyz"
})

print("Status: " .. result.data.status)
print("Duration: " .. (result.data.duration or 0) .. " seconds")
