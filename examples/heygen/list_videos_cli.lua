dump(app.integrations.heygen.list_videos({limit = 1, offset = 1}))
