"""A directory as the store."""

import asyncio
import os
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.archive.file_store import FileStore
from app.archive.read_zip import open_zip

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


async def test_a_zip_is_read_once_for_its_directory_and_a_small_member(directory: Path) -> None:
    store = FileStore(f"file://{directory}")
    with zipfile.ZipFile(directory / "s.zip", "w") as made:
        made.writestr("bass.flac", b"fLaC")
    zipped = await open_zip(store, "s.zip", (directory / "s.zip").stat().st_size)
    # What came with the directory needs no second look at the store.
    (directory / "s.zip").unlink()
    assert [member.name for member in zipped.members] == ["bass.flac"]
    assert b"".join([piece async for piece in zipped.read("bass.flac", 1, 3)]) == b"LaC"


async def test_what_was_left_half_written_goes_and_nothing_of_others(directory: Path) -> None:
    store, now = FileStore(f"file://{directory}"), datetime.now(UTC)
    left = ("studio/2026/audio.mp3#1", "uploads/a/my #1.flac#23")
    others = ("audio.mp3", "Take #2", "Etude Op. 10#4", "by hand/no. 3#1")
    for name in (*left, *others, "studio/2026/fresh.wav#1"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"RIFF")
        if "fresh" not in name:
            os.utime(path, (now.timestamp() - 7200, now.timestamp() - 7200))
    await store.drop_stale(now - timedelta(hours=1))
    assert {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()} == {
        *others,
        "studio/2026/fresh.wav#1",
    }
