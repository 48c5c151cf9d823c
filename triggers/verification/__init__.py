"""Who may start a run without an API key: one module for each way of signing a request."""
