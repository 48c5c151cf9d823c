-- Default account (always works)
dump(app.integrations.mux.list_assets({ limit = 1 }).data[1].id)

-- Explicit default (portable across setups)
dump(app.integrations.mux.default.list_assets({ limit = 1 }).data[1].id)

-- Named accounts
dump(app.integrations.mux.production.list_assets({ limit = 1 }).data[1].id)
dump(app.integrations.mux.staging.list_assets({ limit = 1 }).data[1].id)
