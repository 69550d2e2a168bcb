"""Who talks to us, in HTTP: callers, TemPolor's callbacks, and those who run the gateway."""
