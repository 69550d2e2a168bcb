"""Watching: pages of tasks, the long poll, server-sent events, and wake-ups between processes."""
