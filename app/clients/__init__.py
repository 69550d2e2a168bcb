"""Who may call: clients, their API keys, and who is asking with a request."""
