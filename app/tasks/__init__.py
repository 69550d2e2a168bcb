"""The state that all stories share: loaded, changed in memory, and saved if nobody else has changed it since."""
