-- Every function also answers to its full name.
local mux = app.integrations.mux

local asset = mux.mux_get_asset({ asset_id = "abc123xyz" })
local stream = mux.mux_get_live_stream({ live_stream_id = "abc123xyz" })
local rows = mux.mux_get_current_user({})

print(asset.data.status, stream.data.status, #rows.data)
print(#mux.mux_list_assets({}).data, #mux.mux_list_live_streams({}).data)
print(mux.mux_create_asset({ input = "https://storage.example.com/video.mp4" }).data.status)
print(mux.mux_create_live_stream({}).data.status)
