"""Look into a kept zip, and read one member by itself: in pieces, from the store, without unpacking to disk.

Whoever made the zip is not trusted. Names that lead elsewhere, links, encrypted members, members that overlap or are
larger than they say, and zips with too many members are refused.
"""

import asyncio
import io
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

from app.archive.file_store import FileStore
from app.errors import ZipRefused

MOST_MEMBERS: Final = 1000
MOST_DIRECTORY_BYTES: Final = 1024 * 1024
"""Of the zip's directory, which is read at once: a member takes some 100 bytes there."""
MOST_RATIO: Final = 200
"""Of a large member to what it takes in the zip; audio is hardly compressed."""
PIECE_BYTES: Final = 256 * 1024
_LOCATOR: Final = struct.Struct("<4sIQI")
_ZIP64_END: Final = struct.Struct("<4s28xQQQ")
_ZIP64_BYTES: Final = 56 + _LOCATOR.size
_END_BYTES: Final = _ZIP64_BYTES + 22 + 65_535
"""The end records with the longest comment."""
_BLOCK_BYTES: Final = 256 * 1024
_BY_ENDING: Final = {
    "flac": "audio/flac",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "mid": "audio/midi",
    "midi": "audio/midi",
    "json": "application/json",
    "txt": "text/plain",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a zip."""

    name: str
    bytes: int
    media_type: str


class _Blocks(io.RawIOBase):
    """A file of the store, for ``zipfile``: read in blocks, of which the latest two are kept. Used in a thread."""

    def __init__(self, store: FileStore, path: str, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self._store, self._path, self._size, self._loop = store, path, size, loop
        self._at = 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        number, offset = divmod(self._at, _BLOCK_BYTES)
        piece = self._block(number)[offset : offset + len(buffer)] if self._at < self._size else b""
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * _BLOCK_BYTES
            reading = self._store.read_at(self._path, start, min(_BLOCK_BYTES, self._size - start))
            while len(self._blocks) > 1:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = asyncio.run_coroutine_threadsafe(reading, self._loop).result()
        return self._blocks[number]


class OpenZip:
    """A zip of the store whose directory was read and checked. It holds no file and no connection between reads."""

    def __init__(self, zipped: zipfile.ZipFile) -> None:
        self._zipped = zipped
        self._infos = {info.filename: info for info in _infos(zipped)}

    @property
    def members(self) -> list[Member]:
        """The files in it, in their order."""
        return [_member(info) for info in self._infos.values()]

    def find(self, name: str) -> Member | None:
        """One file in it; None if there is none of this name."""
        info = self._infos.get(name)
        return _member(info) if info is not None else None

    async def read(self, name: str, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """Bytes of a member from ``start`` on, piece by piece; what comes before is unpacked and dropped. Raises
        ``ZipRefused``, and what the store raises."""
        opened = await asyncio.to_thread(self._open, name)
        try:
            await asyncio.to_thread(_skip, opened, start)
            while length > 0:
                piece = await asyncio.to_thread(_read, opened, min(PIECE_BYTES, length))
                if not piece:
                    raise ZipRefused("a member of the zip is shorter than it says")
                yield piece
                length -= len(piece)
        finally:
            await asyncio.to_thread(opened.close)

    def _open(self, name: str) -> Any:
        try:
            return self._zipped.open(self._infos[name])
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            raise ZipRefused("a member of the zip cannot be read") from error


async def open_zip(store: FileStore, path: str, size: int) -> OpenZip:
    """Read the directory of a zip. Raises ``ZipRefused``, and what the store raises."""
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(lambda: OpenZip(_zip(store, path, size, loop)))


def _infos(zipped: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members, checked. Raises ``ZipRefused``."""
    infos = [info for info in zipped.infolist() if not info.filename.endswith("/")]
    end = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        parts = info.filename.replace("\\", "/").split("/")
        if (
            not info.filename
            or info.filename.startswith(("/", "\\"))
            or ".." in parts
            or ":" in parts[0]
            or not all(char.isprintable() or unicodedata.category(char) == "Zs" for char in info.filename)
        ):
            raise ZipRefused("a member of the zip has a name that leads elsewhere")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ZipRefused("a member of the zip is a link")
        if info.flag_bits & 0x1:
            raise ZipRefused("a member of the zip is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ZipRefused("a member of the zip is compressed in an unknown way")
        if info.file_size > PIECE_BYTES and info.file_size > info.compress_size * MOST_RATIO:
            raise ZipRefused("a member of the zip is compressed beyond belief")
        if info.header_offset < end:
            raise ZipRefused("members of the zip overlap")
        end = info.header_offset + info.compress_size
    if len({info.filename for info in infos}) < len(infos):
        raise ZipRefused("members of the zip have the same name")
    return infos


def _zip(store: FileStore, path: str, size: int, loop: asyncio.AbstractEventLoop) -> zipfile.ZipFile:
    """Open a zip, its directory being of a usual size. Raises ``ZipRefused``."""
    blocks = _Blocks(store, path, size, loop)
    try:
        _check_end(blocks, size)
        return zipfile.ZipFile(io.BufferedReader(blocks, PIECE_BYTES))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError) as error:
        raise ZipRefused("the zip cannot be read") from error


def _check_end(blocks: _Blocks, size: int) -> None:
    """Check what the end of a zip says of its directory, before any list is made of it (APPNOTE 4.3.16)."""
    start = max(size - _END_BYTES, 0)
    blocks.seek(start)
    reader = io.BufferedReader(blocks, PIECE_BYTES)
    tail = reader.read()
    reader.detach()  # or its end would close what is read from next
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise ZipRefused("the zip has no end")
    count, directory_bytes = struct.unpack_from("<HI", tail, at + 10)
    if tail[max(at - _LOCATOR.size, 0) : at].startswith(b"PK\x06\x07"):
        # Where there is a record of zip64, its numbers count, whatever those of the plain one are.
        zip64_at = at - _ZIP64_BYTES
        if zip64_at < 0 or _LOCATOR.unpack_from(tail, at - _LOCATOR.size)[2] != start + zip64_at:
            raise ZipRefused("the zip cannot be read")
        signature, count, directory_bytes, _ = _ZIP64_END.unpack_from(tail, zip64_at)
        if signature != b"PK\x06\x06":
            raise ZipRefused("the zip cannot be read")
    if count > MOST_MEMBERS or directory_bytes > MOST_DIRECTORY_BYTES:
        raise ZipRefused("the zip has too many members")


def _member(info: zipfile.ZipInfo) -> Member:
    return Member(info.filename, info.file_size, _media_type(info.filename))


def _skip(opened: Any, count: int) -> None:
    while count > 0 and (piece := _read(opened, min(PIECE_BYTES, count))):
        count -= len(piece)


def _read(opened: Any, count: int) -> bytes:
    try:
        return bytes(opened.read(count))
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        raise ZipRefused("a member of the zip is broken") from error


def _media_type(name: str) -> str:
    return _BY_ENDING.get(name.rpartition(".")[2].lower(), "application/octet-stream")
