local result = app.integrations.mux.list_assets({limit = 1, page = 1})
print(result)
