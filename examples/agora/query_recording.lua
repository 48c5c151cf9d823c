local resource_id, sid = "resource-running", "sid-running"

local status = app.integrations.agora.query_recording({
  resource_id = resource_id,
  sid = sid,
  mode = "mix",
})

print(status.serverResponse.status)
