local sync = app.integrations.mixpeek.create_sync({
  bucket_id = "bkt_videos",
  connection_id = "conn_mux",
  source_path = "mux://",
  file_filters = {
    metadata_filters = {
      { field = "passthrough", operator = "contains", value = "vi:1" },
    },
  },
})

print(#sync.file_filters.metadata_filters)
