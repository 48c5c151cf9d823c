local convex = app.integrations.convex
local result = convex.list_tables({})
dump(result)
