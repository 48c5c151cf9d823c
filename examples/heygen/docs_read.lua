print(docs.read("heygen"))
