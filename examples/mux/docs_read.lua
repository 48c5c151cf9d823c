print(docs.read("mux"))
