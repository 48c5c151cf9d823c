-- Corrected: the document's example has no comma between the fields of the table.
local result = app.integrations.convex.convex_create_document({
  table = "users",
  fields = '{"name": "John", "email": "john@example.com"}'
})
