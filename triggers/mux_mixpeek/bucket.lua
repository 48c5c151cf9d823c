-- A bucket for a sync to fill.
return app.integrations.mixpeek[input.mixpeek_account].create_bucket(input.bucket)
