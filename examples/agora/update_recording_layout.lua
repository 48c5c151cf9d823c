local resource_id, sid = "resource-running", "sid-running"

app.integrations.agora.update_recording_layout({
  resource_id = resource_id,
  sid = sid,
  cname = "team-standup",
  uid = "527841",
  mixed_video_layout = 3,
  background_color = "#000000",
  layout_config = {
    { uid = "123", x_axis = 0, y_axis = 0, width = 0.5, height = 1, alpha = 1 },
    { uid = "456", x_axis = 0.5, y_axis = 0, width = 0.5, height = 1, alpha = 1 },
  },
})
