"""The vendor calls: a callback is durable before it is acknowledged, and applied once."""
