"""A bucket on an S3 server that is a process of its own, and what the stories of the archive are made of."""

from collections.abc import AsyncIterator

import pytest

from tests.stories.archive.conftest import directory, files, gateway
from tests.support.object_store import ObjectStore, object_store

__all__ = ["directory", "files", "gateway"]


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ObjectStore]:
    """An empty bucket, which this process has the key of."""
    async with object_store() as started:
        for name, value in started.variables.items():
            monkeypatch.setenv(name, value)
        yield started
