print(docs.read("mux.list_assets"))
