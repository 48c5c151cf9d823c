-- `provider_config` is replaced as a whole, so the access token is repeated.
local connection = app.integrations.mixpeek.update_connection({
  connection_id = "conn_mux",
  provider_config = {
    credentials = {
      type = "access_token",
      access_token_id = "fake-token-id",
      access_token_secret = "fake-token-secret",
      webhook_secret = "the-secret-that-mux-shows",
    },
  },
})

print(connection.connection_id)
