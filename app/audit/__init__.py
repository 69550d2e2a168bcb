"""What admins did, by whom, to what: recorded in the transaction that does it, and never changed."""
