local session = { cname = "team-standup", uid = "527841" }

print(app.integrations.agora.acquire_recording_resource(session).resourceId:sub(1, 10))
print(app.integrations.agora.default.acquire_recording_resource(session).resourceId:sub(1, 10))
print(app.integrations.agora.work.acquire_recording_resource(session).resourceId:sub(1, 10))
print(app.integrations.agora.production.acquire_recording_resource(session).resourceId:sub(1, 10))
