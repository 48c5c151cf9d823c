local result = app.integrations.mux.create_asset({
  input = "https://storage.example.com/video.mp4",
  playback_policy = { "public" }
})

print("Created asset: " .. result.data.id)
