local mux = app.integrations.mux
local result = mux.list_assets({limit = 1, page = 1})
dump(result)
