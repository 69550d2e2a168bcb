"""All knowledge of SQL. Functions here are synchronous, take a connection first, and run inside one transaction."""
