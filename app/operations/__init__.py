"""For those who run the gateway: health, warnings, the clock, retention, erasure, the account."""
