-- Corrected: the document's example has no commas between the fields of the table.
local result = app.integrations.convex.convex_update_document({
  table = "users",
  document_id = "doc_abc123",
  fields = '{"name": "Jane"}'
})
