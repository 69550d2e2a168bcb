"""Where the commands find the database of a test."""

import pytest

from tests.support.commands import environment


@pytest.fixture
def env(database_url: str) -> dict[str, str]:
    return environment(database_url)
