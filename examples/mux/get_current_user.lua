local result = app.integrations.mux.get_current_user({})

for _, row in ipairs(result.data or {}) do
  print(row.view_id .. ": " .. row.viewer_count .. " viewers")
end
