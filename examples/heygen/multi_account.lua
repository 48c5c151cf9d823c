-- Default account (always works)
dump(app.integrations.heygen.list_videos({ limit = 1 }).data.videos[1].video_id)

-- Explicit default (portable across setups)
dump(app.integrations.heygen.default.list_videos({ limit = 1 }).data.videos[1].video_id)

-- Named accounts
dump(app.integrations.heygen.work.list_videos({ limit = 1 }).data.videos[1].video_id)
dump(app.integrations.heygen.personal.list_videos({ limit = 1 }).data.videos[1].video_id)
