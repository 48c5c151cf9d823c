print(docs.read("integrations.agora"))
