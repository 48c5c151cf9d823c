dump(app.integrations.agora.acquire_recording_resource({cname = "example_cname", uid = "527841", scene = 1, resource_expired_hour = 1, start_parameter = "{}", client_request = "{}"}))
