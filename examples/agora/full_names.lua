-- Every function also answers to its full name.
local agora = app.integrations.agora
local acquired = agora.agora_acquire_recording_resource({ cname = "room", uid = 7 })
local session = {
  resource_id = acquired.resourceId, mode = "composite", cname = "room", uid = 7,
  storage_config = { vendor = 1, region = 0, bucket = "b", accessKey = "a", secretKey = "s" },
}
local started = agora.agora_start_recording(session)

session.sid, session.storage_config = started.sid, nil
print(agora.agora_query_recording({
  resource_id = session.resource_id, sid = session.sid, mode = "mix",
}).serverResponse.status)

session.stream_subscribe = {}
print(agora.agora_update_recording(session).sid)

session.stream_subscribe, session.mode = nil, nil
print(agora.agora_update_recording_layout(session).sid)

session.mode = "mix"
print(agora.agora_stop_recording(session).serverResponse.uploadingStatus)
print(#agora.agora_get_notification_ips().data.service.hosts)
