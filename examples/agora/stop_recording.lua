local resource_id, sid = "resource-running", "sid-running"

local stopped = app.integrations.agora.stop_recording({
  resource_id = resource_id,
  sid = sid,
  mode = "mix",
  cname = "team-standup",
  uid = "527841",
  async_stop = false,
})

print(stopped.serverResponse.uploadingStatus)
