"""Logs and metrics: what the gateway says of itself to those who run it. No secret goes in here."""
