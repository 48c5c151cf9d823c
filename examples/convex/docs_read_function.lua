print(docs.read("convex.list_tables"))
