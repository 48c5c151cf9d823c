-- Every function once, under its full name, on things of its own.
local mixpeek = app.integrations.mixpeek

local connection = mixpeek.mixpeek_create_connection({
  name = "mux-lifecycle",
  provider_type = "mux",
  provider_config = {
    credentials = {
      type = "access_token",
      access_token_id = "fake-token-id",
      access_token_secret = "fake-token-secret",
    },
  },
})
local here = { connection_id = connection.connection_id }
print(mixpeek.mixpeek_test_connection(here).success)
print(#mixpeek.mixpeek_list_connections({ provider_type = "mux" }).results > 1)
print(mixpeek.mixpeek_get_connection({ connection_id = "mux-lifecycle" }).status)

local bucket = mixpeek.mixpeek_create_bucket({ name = "lifecycle", blob_type = "video" })
print(#mixpeek.mixpeek_list_buckets({ search = "lifecycle", limit = 5 }).results)
print(mixpeek.mixpeek_get_bucket({ bucket_id = bucket.bucket_id }).bucket_name)

local sync = mixpeek.mixpeek_create_sync({
  bucket_id = bucket.bucket_id,
  connection_id = connection.connection_id,
})
local both = { bucket_id = bucket.bucket_id, sync_config_id = sync.sync_config_id }
print(#mixpeek.mixpeek_list_syncs({ bucket_id = bucket.bucket_id, limit = 5 }).results)
print(mixpeek.mixpeek_get_sync(both).status)
print(mixpeek.mixpeek_trigger_sync(both).sync_job_id ~= nil)

local found = mixpeek.mixpeek_execute_retriever({ retriever_id = "ret_videos", inputs = { query_text = "intro" } })
print(found.documents[1].source_metadata.asset_id)

mixpeek.mixpeek_delete_sync(both)
mixpeek.mixpeek_delete_bucket({ bucket_id = bucket.bucket_id })
mixpeek.mixpeek_delete_connection(here)
print(mixpeek.mixpeek_get_connection(here).status)
