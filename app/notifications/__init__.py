"""The client is told: the outbox, and signed POSTs to addresses that somebody else chose."""
