print(docs.read("integrations.convex"))
