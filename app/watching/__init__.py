"""Read, wait and follow: pages of tasks, the long poll, Server-Sent Events, and wake-ups between processes."""
