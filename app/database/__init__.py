"""Engines, tables, migrations and where the two databases differ. Functions take a connection first, and run inside
one transaction."""
