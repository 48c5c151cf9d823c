local resource_id, sid = "resource-running", "sid-running"

app.integrations.agora.update_recording({
  resource_id = resource_id,
  sid = sid,
  mode = "mix",
  cname = "team-standup",
  uid = "527841",
  stream_subscribe = {
    audioUidList = {
      subscribeAudioUids = { "123", "456" },
    },
    videoUidList = {
      subscribeVideoUids = { "123" },
    },
  },
})
