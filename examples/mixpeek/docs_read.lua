print(docs.read("mixpeek"))
