-- The document's own placeholders ("example_uid" and text where Agora takes an object) are replaced
-- by values that can be sent.
local agora = app.integrations.agora
local result = agora.acquire_recording_resource({cname = "example_cname", uid = "527841", scene = 1, resource_expired_hour = 1, start_parameter = "{}", client_request = "{}"})
dump(result)
