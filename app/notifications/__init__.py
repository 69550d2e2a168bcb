"""Notifications: the outbox, and signed webhooks posted to addresses that clients chose."""
