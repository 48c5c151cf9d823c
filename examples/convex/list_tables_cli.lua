dump(app.integrations.convex.list_tables({}))
