-- Every function also answers to its full name.
local heygen = app.integrations.heygen

print(#heygen.heygen_list_videos({}).data.videos, #heygen.heygen_list_templates({}).data.templates)
print(#heygen.heygen_list_avatars({}).data.avatars, #heygen.heygen_list_voices({}).data.voices)
print(heygen.heygen_get_video({ video_id = "abc123" }).data.status)
print(heygen.heygen_get_current_user({}).data.plan)
print(heygen.heygen_create_video({
  video_inputs = { { character = { avatar_id = "avatar-abc123" }, script = "Hello" } }
}).data.status)
