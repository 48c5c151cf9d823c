-- A document that is not there, or is of another table, is never changed.
local convex = app.integrations.convex
local ok, err = pcall(convex.update_document, {
  table = "messages",
  document_id = "doc_abc123",
  fields = { body = "oops" }
})
print(ok, err.code)

-- Convex sorts by creation time or by an index; nothing else is pretended.
ok, err = pcall(convex.query_documents, { table = "users", order = "email" })
print(ok, err.code)
print(tostring(err))
