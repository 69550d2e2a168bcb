"""Clients of the gateway: their API keys, webhook secrets, and the authentication of requests."""
