-- A page may hold fewer documents than `limit`, even none: follow the cursor to the end.
local convex = app.integrations.convex
local cursor, count = nil, 0

repeat
  local page = convex.query_documents({ table = "messages", order = "_creationTime", limit = 2, cursor = cursor })
  for _, message in ipairs(page.documents) do
    count = count + 1
    print(count .. ": " .. message.body)
  end
  cursor = page.cursor
until not cursor
