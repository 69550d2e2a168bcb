"""A gateway with an archive in a directory, and a server of result files that a test fills. In real time: files are
written by threads of a library, which virtual time knows nothing of."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.file_server import FileServer, serving_files
from tests.support.gateway import Running
from tests.support.start_fixtures import StartGateway


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
async def gateway(start_gateway: StartGateway, directory: Path) -> Running:
    return await start_gateway(archive_url=f"file://{directory}", egress_allow_private=True)


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with serving_files() as server:
        yield server
