"""Which of the two databases a test runs on, where it is not both."""

import pytest

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what does not hang on the database."""
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""For what only a shared database shows."""
