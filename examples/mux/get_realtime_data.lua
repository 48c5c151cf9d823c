-- The same operation under its other name.
local result = app.integrations.mux.get_realtime_data({})

for _, row in ipairs(result.data or {}) do
  print(row.view_id .. ": " .. row.viewer_count .. " viewers")
end
