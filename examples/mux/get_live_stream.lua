local result = app.integrations.mux.get_live_stream({
  live_stream_id = "abc123xyz"
})

print("Status: " .. result.data.status)
print("Stream key: " .. (result.data.stream_key or "n/a"))
