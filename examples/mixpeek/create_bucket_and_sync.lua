local mixpeek = app.integrations.mixpeek

local bucket = mixpeek.create_bucket({
  namespace_id = "ns-default",
  name = "mux-videos",
  description = "Video assets from Mux",
  blob_type = "video",
})

local sync = mixpeek.create_sync({
  namespace_id = "ns-default",
  bucket_id = bucket.bucket_id,
  connection_id = "conn_mux",
  source_path = "mux://",
  sync_mode = "continuous",
  polling_interval_seconds = 300,
})

print(bucket.bucket_name, sync.status)
