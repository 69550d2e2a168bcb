"""The gateway and the sandbox as processes of their own, for people who want to see it work."""
