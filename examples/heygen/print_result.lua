local result = app.integrations.heygen.list_videos({limit = 1, offset = 1})
print(result)
