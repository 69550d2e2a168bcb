"""Measurements of the gateway: against the plain way and the bare floor, under overload, and over table sizes."""
