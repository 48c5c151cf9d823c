-- Corrected: the document's example has no commas between the fields of the table.
local result = app.integrations.convex.convex_query_documents({
  table = "users",
  filter = '{"status": "active"}',
  limit = 50
})
