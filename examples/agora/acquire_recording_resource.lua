local acquired = app.integrations.agora.acquire_recording_resource({
  cname = "team-standup",
  uid = "527841",
  scene = 0,
  resource_expired_hour = 24,
})

local resource_id = acquired.resourceId

print(resource_id:sub(1, 13))
