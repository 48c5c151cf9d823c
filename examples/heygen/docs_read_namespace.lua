print(docs.read("integrations.heygen"))
