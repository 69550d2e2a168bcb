"""The audit log of admins' acts: recorded in the transaction that does the act, and never changed."""
