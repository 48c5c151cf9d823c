print(docs.read("convex"))
