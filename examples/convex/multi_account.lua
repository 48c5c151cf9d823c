-- Default account (always works)
dump(app.integrations.convex.get_current_user({}).name)

-- Explicit default (portable across setups)
dump(app.integrations.convex.default.get_current_user({}).name)

-- Named accounts
dump(app.integrations.convex.staging.get_current_user({}).name)
dump(app.integrations.convex.production.get_current_user({}).name)
