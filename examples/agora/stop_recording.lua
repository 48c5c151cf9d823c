local acquired = app.integrations.agora.acquire_recording_resource({
  cname = "team-standup",
  uid = "527841",
  scene = 0,
  resource_expired_hour = 24,
})

local resource_id = acquired.resourceId

local started = app.integrations.agora.start_recording({
  resource_id = resource_id,
  mode = "mix",
  cname = "team-standup",
  uid = "527841",
  recording_config = {
    channelType = 1,
    streamTypes = 2,
    maxIdleTime = 30,
  },
  recording_file_config = {
    avFileType = { "hls" },
  },
  storage_config = {
    vendor = 1,
    region = 0,
    bucket = "recordings-example",
    accessKey = "fake-access-key",
    secretKey = "fake-secret-key",
    fileNamePrefix = { "agora", "team-standup" },
  },
})

local sid = started.sid

local stopped = app.integrations.agora.stop_recording({
  resource_id = resource_id,
  sid = sid,
  mode = "mix",
  cname = "team-standup",
  uid = "527841",
  async_stop = false,
})

print(stopped.serverResponse.uploadingStatus)
