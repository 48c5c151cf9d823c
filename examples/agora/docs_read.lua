print(docs.read("agora"))
