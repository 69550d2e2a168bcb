"""The store of files: a directory or an object store, behind one library (obstore). Paths are relative to its URL."""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import from_url

from app.errors import ArtifactGone, BadSettings, Unavailable

SCHEMES: Final = ("file", "s3", "gs", "az")
LOCAL_PART_BYTES: Final = 512 * 1024
REMOTE_PART_BYTES: Final = 5 * 1024 * 1024
"""The least that S3 takes as a part; each copy holds two of them in memory."""
_STAGED: Final = re.compile(r"\.[a-z0-9]+#\d+$", re.ASCII)
"""How the library names what is still being written: our files have an ending and no such character. A directory may
hold files of others, which are called as they like."""
MOST_PART_CHARS: Final = 200
"""Of a part of a path: file systems take 255 bytes, and the library adds to a name while it writes."""
_CUT_CODE: Final = re.compile(r"%[0-9A-F]?$")
READ_BYTES: Final = 128 * 1024
"""Read at once for whoever downloads: a slow reader holds no more, and no connection to the store."""


log = structlog.get_logger(__name__)


class StoreFailed(Unavailable):
    """The store is away, full, or refuses rights. ``is_void``: certainly nothing was stored."""

    def __init__(self, doing: str, error: Exception, *, is_void: bool = False) -> None:
        # The first line: the library tells the rest for programmers.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        super().__init__("the archive's store cannot be used now", 10.0, operator_detail=f"{doing}: {reason[:300]}")
        self.is_void = is_void


class FileMissing(ArtifactGone):
    """There is no such file in the store: somebody else deleted it there, or the store was moved without it."""

    def __init__(self, path: str) -> None:
        super().__init__("the file is not in the archive's store any more", operator_detail=path)


class FileStore:
    """Files by path. Credentials of object stores come from their usual variables (AWS_…, GOOGLE_…, AZURE_…). Raises
    ``BadSettings`` for a URL that names no store that can be opened; ``named``: where it was given."""

    def __init__(self, url: str, named: str = "GATEWAY_ARCHIVE_URL") -> None:
        parts = urlsplit(url)
        self._directory = Path(url2pathname(parts.path)) if parts.scheme == "file" else None
        options: dict[str, Any] = {"mkdir": True, "automatic_cleanup": True} if self._directory is not None else {}
        try:
            self._store: Any = from_url(url, **options)
        except (BaseError, OSError, ValueError) as error:
            raise BadSettings([f"{named}: {str(error).splitlines()[0][:300]}"]) from None
        self._part_bytes = LOCAL_PART_BYTES if self._directory is not None else REMOTE_PART_BYTES

    async def put(self, path: str, pieces: AsyncIterator[bytes]) -> None:
        """Store a file, whole or not at all: what ``pieces`` raises ends it, and nothing of it is left. It is durable
        when this returns. Raises ``StoreFailed``, and what ``pieces`` raises."""
        # The library reads in a task of its own, which goes on when this one is cancelled: it gets what ours read, so
        # that ``pieces`` is begun and ended here.
        read: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(1)
        reading = asyncio.create_task(_read_into(read, pieces))
        try:
            await obstore.put_async(
                self._store, path, _queued(read), use_multipart=True, chunk_size=self._part_bytes, max_concurrency=1
            )
        except (BaseError, OSError, ValueError) as error:
            if reading.done() and (failure := reading.exception()) is not None:
                raise failure from None
            raise StoreFailed("writing", error, is_void=self._directory is not None) from error
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            while not read.empty():
                read.get_nowait()
            read.put_nowait(asyncio.CancelledError())
        if self._directory is not None:
            try:
                await asyncio.to_thread(_flush, self._directory, path)
            except OSError as error:
                raise StoreFailed("flushing", error) from error

    async def size(self, path: str) -> int:
        """Bytes of a file. Raises ``FileMissing``, ``StoreFailed``."""
        try:
            return int((await obstore.head_async(self._store, path))["size"])
        except FileNotFoundError:
            raise FileMissing(path) from None
        except (BaseError, OSError) as error:
            raise StoreFailed("looking", error) from error

    async def read(self, path: str, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """A part of a file, piece by piece. Raises ``FileMissing``, ``StoreFailed``."""
        end = start + length
        while start < end:
            piece = await self.read_at(path, start, min(READ_BYTES, end - start))
            if not piece:
                raise FileMissing(path)
            yield piece
            start += len(piece)

    async def read_at(self, path: str, start: int, length: int) -> bytes:
        """Bytes of a file, at once. Raises ``FileMissing``, ``StoreFailed``."""
        try:
            return bytes(await obstore.get_range_async(self._store, path, start=start, length=length))
        except FileNotFoundError:
            log.error("archive.file_missing", path=path)
            raise FileMissing(path) from None
        except (BaseError, OSError) as error:
            raise StoreFailed("reading", error) from error

    async def pages(self, size: int) -> AsyncIterator[list[str]]:
        """The paths of all files, so many at once. Raises ``StoreFailed``."""
        try:
            async for page in obstore.list(self._store, chunk_size=size):
                yield [one["path"] for one in page]
        except (BaseError, OSError) as error:
            raise StoreFailed("listing", error) from error

    async def drop_stale(self, before: datetime) -> None:
        """Delete what killed processes left half written before a time, in a directory. (An object store has a rule
        for multipart uploads that were never completed: set it.)"""
        if self._directory is not None:
            await asyncio.to_thread(_drop_stale, self._directory, before.timestamp())

    async def delete(self, path: str) -> None:
        """Delete a file; one that is gone already is no error. Raises ``StoreFailed``."""
        try:
            await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise StoreFailed("deleting", error) from error


def _drop_stale(directory: Path, before_s: float) -> None:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                if _STAGED.search(name) and path.stat().st_mtime < before_s:
                    path.unlink()


async def _read_into(read: asyncio.Queue[bytes | BaseException | None], pieces: AsyncIterator[bytes]) -> None:
    try:
        async for piece in pieces:
            await read.put(piece)
        await read.put(None)
    except Exception as error:
        await read.put(error)
        raise


async def _queued(read: asyncio.Queue[bytes | BaseException | None]) -> AsyncIterator[bytes]:
    while (piece := await read.get()) is not None:
        if isinstance(piece, BaseException):
            raise piece
        yield piece


def path_part(text: str) -> str:
    """A part of a path, with what could lead elsewhere written as its code. What a file system would find too long is
    cut, with a digest in place of the rest."""
    part = quote(text, safe=" ()[]!,;=+@&$'")
    if len(part) > MOST_PART_CHARS:
        digest = blake2b(text.encode(), digest_size=8).hexdigest()
        return f"{_CUT_CODE.sub('', part[: MOST_PART_CHARS - len(digest) - 1])}-{digest}"
    return part.replace(".", "%2E") if set(part) == {"."} else part


def _flush(directory: Path, path: str) -> None:
    """Have a file and its name on the disk, and the names of the directories that were made for it: the library leaves
    all to the system."""
    file = directory / path
    for target in (file, *(parent for parent in file.parents if parent.is_relative_to(directory))):
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
