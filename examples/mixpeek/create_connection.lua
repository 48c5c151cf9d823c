local connection = app.integrations.mixpeek.create_connection({
  name = "Mux Production",
  provider_type = "mux",
  provider_config = {
    credentials = {
      type = "access_token",
      access_token_id = "fake-token-id",
      access_token_secret = "fake-token-secret",
    },
  },
  test_before_save = true,
})

print(connection.name, connection.status)
