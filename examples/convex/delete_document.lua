-- Corrected: the document's example has no comma between the fields of the table.
local result = app.integrations.convex.convex_delete_document({
  table = "users",
  document_id = "doc_abc123"
})
