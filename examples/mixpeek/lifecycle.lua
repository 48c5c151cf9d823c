-- Every function once, under its full name.
local mixpeek = app.integrations.mixpeek
local sync = { bucket_id = "bkt_videos", sync_config_id = "sync_main" }

print(mixpeek.mixpeek_test_connection({ connection_id = "conn_mux" }).success)
print(#mixpeek.mixpeek_list_connections({ provider_type = "mux" }).results)
print(mixpeek.mixpeek_get_connection({ connection_id = "mux-main" }).connection_id)
print(#mixpeek.mixpeek_list_buckets({ limit = 5 }).results)
print(mixpeek.mixpeek_get_bucket({ bucket_id = "bkt_videos" }).bucket_name)
print(#mixpeek.mixpeek_list_syncs({ bucket_id = "bkt_videos", limit = 5 }).results)
print(mixpeek.mixpeek_get_sync(sync).status)
print(mixpeek.mixpeek_trigger_sync(sync).sync_job_id)
mixpeek.mixpeek_delete_sync(sync)
mixpeek.mixpeek_delete_bucket({ bucket_id = "bkt_videos" })
mixpeek.mixpeek_delete_connection({ connection_id = "conn_mux" })
print(mixpeek.mixpeek_get_connection({ connection_id = "conn_mux" }).status)
