print(docs.read("agora.acquire_recording_resource"))
