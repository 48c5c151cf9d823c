print(docs.read("heygen.list_videos"))
