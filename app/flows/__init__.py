"""The stories, one file each, and the only place where a transaction begins."""
