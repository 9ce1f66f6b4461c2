"""The local page and the HTTP API: they read the gateway's state and never change it."""
