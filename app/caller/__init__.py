"""Signed POSTs to clients: the only place that calls an address that somebody else chose."""
