-- The structure of one scene, made a whole call: the document shows only the inner table.
local scene = {
  character = {
    avatar_id = "avatar-id-here",
    voice_id = "voice-id-here"
  },
  script = "Your script text here",
  voice_settings = {
    speed = 1.0,
    stability = 0.5
  }
}

local result = app.integrations.heygen.create_video({ video_inputs = { scene } })
print(result.data.status)
