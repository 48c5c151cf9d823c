local result = app.integrations.convex.convex_list_tables({
})
