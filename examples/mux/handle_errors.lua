-- A failed call is a table: branch on its code, or let it read as text.
local ok, err = pcall(app.integrations.mux.get_asset, { asset_id = "no-such-asset" })
print(ok, err.code, err.status)
print(tostring(err))

-- Nothing is sent when the arguments do not fit.
ok, err = pcall(app.integrations.mux.list_assets, { limit = 500 })
print(ok, err.code)
print(tostring(err))
