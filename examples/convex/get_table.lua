local result = app.integrations.convex.convex_get_table({
  table = "users"
})
