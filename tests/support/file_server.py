"""A server of result files, as the vendor's store is: with ranges, and with each way in which a download goes wrong."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

MP3 = b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"\xff\xfb\x90\x00" + bytes(range(256)) * 40
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(range(256)) * 60


@dataclass
class File:
    """``status`` in place of the file; ``cut_after``: the connection breaks off after so many bytes, this often;
    ``length``: what Content-Length says, None for none; ``pause_s``: before each piece of 4 KiB; ``etag``: None for
    none; ``then``, ``etag_then``: what is served in its place once it broke off; ``part``: the most of a range that is
    answered; ``location``: where it redirects to."""

    body: bytes
    media_type: str = "audio/mpeg"
    status: int = 200
    cut_after: int | None = None
    cuts: int = 1
    length: int | None = -1
    ranges: bool = True
    chunked: bool = False
    pause_s: float = 0.0
    etag: str | None = '"v1"'
    then: bytes | None = None
    etag_then: str | None = None
    part: int | None = None
    location: str | None = None


@dataclass
class FileServer:
    """``url(name)`` of each of its ``files``; ``asked``: the range of each request, by name."""

    port: int = 0
    files: dict[str, File] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}?auth_key=secret"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            name = head.split(" ")[1].partition("?")[0].removeprefix("/")
            found = re.search(r"\r\nrange: bytes=(\d+)-", head, re.IGNORECASE)
            self.asked.append((name, found[1] if found else None))
            await self._answer(self.files.get(name), int(found[1]) if found else 0, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _answer(self, file: File | None, start: int, writer: asyncio.StreamWriter) -> None:
        if file is not None and file.location is not None:
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {file.location}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        if file is None or file.status != 200:
            writer.write(b"HTTP/1.1 %d Gone\r\nContent-Length: 0\r\n\r\n" % (file.status if file else 404))
            return
        start = start if file.ranges else 0
        body = file.body[start : start + file.part if start and file.part else None]
        length = len(body) if file.length == -1 else file.length
        lines = [f"HTTP/1.1 {206 if start else 200} OK", f"Content-Type: {file.media_type}"]
        if file.etag is not None:
            lines.append(f"ETag: {file.etag}")
        if start:
            lines.append(f"Content-Range: bytes {start}-{start + len(body) - 1}/{len(file.body)}")
        if file.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif length is not None:
            lines.append(f"Content-Length: {length}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if file.cut_after is not None and file.cuts > 0:
            file.cuts -= 1
            cut = body[: file.cut_after]
            writer.write(b"%x\r\n%s\r\n" % (len(cut), cut) if file.chunked else cut)
            await writer.drain()
            writer.transport.abort()
            file.body, file.etag = file.then or file.body, file.etag_then or file.etag
            return
        for at in range(0, len(body), 4096):
            piece = body[at : at + 4096]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if file.chunked else piece)
            await writer.drain()
            if file.pause_s:
                await asyncio.sleep(file.pause_s)
        if file.chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


@asynccontextmanager
async def serving_files() -> AsyncIterator[FileServer]:
    """A file server on a free port."""
    server = FileServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


Check = Callable[[], bool]
