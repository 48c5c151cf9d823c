print(docs.read("integrations.mux"))
