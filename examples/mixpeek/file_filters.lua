local sync = app.integrations.mixpeek.create_sync({
  bucket_id = "bkt_videos",
  connection_id = "conn_mux",
  source_path = "mux://",
  file_filters = { min_size = 1000000 }, -- skip assets under about 1 MB
})

print(sync.file_filters.min_size_bytes)
