local result = app.integrations.convex.convex_get_current_user({
})
