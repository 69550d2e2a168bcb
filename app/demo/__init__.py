"""``make demo`` and ``make run``: the gateway and the sandbox as subprocesses, for people who want to see it work."""
