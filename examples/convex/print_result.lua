local result = app.integrations.convex.list_tables({})
print(result)
