local result = app.integrations.mux.create_live_stream({
  playback_policy = { "public" },
  new_asset_settings = {
    playback_policy = { "public" },
    mp4_support = "standard"
  }
})

print("Stream key: " .. result.data.stream_key)
print("Stream ID: " .. result.data.id)
