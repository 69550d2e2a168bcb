"""A directory as the store."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.archive.store import FileStore

pytestmark = pytest.mark.real_time


async def _pieces() -> AsyncIterator[bytes]:
    yield b"some"
    yield b"thing"


async def test_a_file_is_on_the_disk_with_all_directories_above_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[str] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.add(os.readlink(f"/proc/self/fd/{descriptor}")))
    await FileStore(f"file://{directory}").put("a/b/c.mp3", _pieces())
    assert flushed == {str(directory / path) for path in ("", "a", "a/b", "a/b/c.mp3")}


async def test_files_come_and_go_in_one_directory(directory: Path) -> None:
    store = FileStore(f"file://{directory}")

    async def come_and_go(name: str) -> None:
        for _ in range(30):
            await store.put(f"a/b/{name}", _pieces())
            assert await store.size(f"a/b/{name}") == 9
            await store.delete(f"a/b/{name}")

    await asyncio.gather(*(come_and_go(str(number)) for number in range(8)))
    assert list(directory.iterdir()) == []
