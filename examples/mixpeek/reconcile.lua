local sync = app.integrations.mixpeek.update_sync({
  bucket_id = "bkt_videos",
  sync_config_id = "sync_main",
  reconcile_on_sync = true,
})

print(sync.reconcile_on_sync)
