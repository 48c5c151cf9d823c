-- Plain names, tables in place of JSON text, and what comes back.
local convex = app.integrations.convex

local active = convex.query_documents({ table = "users", filter = { status = "active" }, order = "-createdAt" })
for _, user in ipairs(active.documents) do
  print(user._id, user.name)
end

print(convex.create_document({ table = "users", fields = { name = "Grace", status = "active" } }).success)
print(convex.update_document({ table = "users", document_id = "doc_abc123", fields = { name = "Jane" } }).id)
print(convex.delete_document({ table = "users", document_id = "doc_abc123" }).success)

local table_info = convex.get_table({ table = "users" })
print(table_info.name, #table_info.indexes)
