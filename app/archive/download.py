"""Download a result file by its link: through the egress guard, never whole in memory, resumed where it breaks off,
and checked: its length, and that its first bytes are what its name says."""

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Final
from urllib.parse import urljoin

import httpcore

from app.archive.body_stream import BodyGuard, BodyStream
from app.errors import InvalidRequest
from app.rules.schedule import LINK_DEAD
from app.runtime.egress import EgressPolicy, EgressRefused
from app.tasks.webhook_url import read_url
from app.tempolor.kinds import ARTIFACTS

CONNECT_S: Final = 10.0
READ_S: Final = 30.0
"""A server that says nothing for so long has broken off."""
MOST_BYTES_PER_S: Final = 32 * 1024 * 1024
"""Of a process: the event loop that copies is the one that acknowledges callbacks."""
GIVE_WAY: Final = 4.0
"""Seconds by which copies wait longer for each by which the event loop is late."""
SLOWEST: Final = 4.0
"""How many times longer they wait at most."""
LONGEST_S: Final = 3600.0
MOST_RESUMES: Final = 10
MOST_REDIRECTS: Final = 3
PIECE_BYTES: Final = 512 * 1024
"""Passed on at once: to pass on a few bytes takes the event loop as long."""
_HASHED_BYTES: Final = 64 * 1024
"""From so many on, another thread hashes them: to have it do so takes the event loop less time."""
_BUFFERED: Final = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * PIECE_BYTES)]
_SNIFF_BYTES: Final = 12
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)
_DEAD_STATUS: Final = frozenset({401, 403, 404, 410})

# The first bytes of each form, as their specifications have them: ID3v2 and MPEG-1/2 audio layer III (ISO 11172-3,
# 13818-3), RIFF/WAVE, FLAC (RFC 9639), ZIP (APPNOTE 4.3), Standard MIDI.
_FORMS: Final[dict[str, Callable[[bytes], bool]]] = {
    "audio/mpeg": lambda head: head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2),
    "audio/wav": lambda head: head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE",
    "audio/flac": lambda head: head[:4] == b"fLaC",
    "application/zip": lambda head: head[:4] in (b"PK\x03\x04", b"PK\x05\x06"),
    "audio/midi": lambda head: head[:4] == b"MThd",
}
UPLOADED: Final = ("audio/mpeg", "audio/wav", "audio/flac")


class DownloadFailed(Exception):
    """``reason``: a word. ``is_final``: to try again would bring the same; ``link_dead``: a new link might help."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


def media_type_of(head: bytes, allowed: tuple[str, ...]) -> str | None:
    """Which of these forms a file has by its first bytes."""
    return next((form for form in allowed if _FORMS[form](head)), None)


def forms_of(name: str) -> tuple[str, ...]:
    """The media types that an artifact of this name may have; of a name that is not in the registry (any more), all."""
    artifact = ARTIFACTS.get(name)
    return tuple(_FORMS) if artifact is None else artifact.media_types


class Downloader:
    """Makes downloads. ``close()`` it at the end."""

    def __init__(self, policy: EgressPolicy, tls: ssl.SSLContext, most_bytes: int) -> None:
        self._guard = BodyGuard(policy)
        self._tls = tls
        self.most_bytes = most_bytes
        self.longest_s = LONGEST_S
        self._free_at = 0.0

    async def pace(self, size: int) -> None:
        """Wait until so many bytes more may be had, by all downloads together; longer while the event loop is late."""
        loop, least_s = asyncio.get_running_loop(), size / MOST_BYTES_PER_S
        now = loop.time()
        due_at = self._free_at = max(self._free_at, now) + least_s
        await asyncio.sleep(due_at - now)
        now = loop.time()
        self._free_at = max(self._free_at, now) + min((now - due_at) * GIVE_WAY, least_s * (SLOWEST - 1))

    def close(self) -> None:
        self._guard.close()

    def get(self, url: str, name: str) -> "Download":
        """A download of an artifact, which begins when its pieces are read."""
        return Download(self, url, name)

    def pool(self) -> httpcore.AsyncConnectionPool:
        """Connections for one download; what was checked for it is used for no other."""
        return httpcore.AsyncConnectionPool(
            self._tls, network_backend=self._guard, max_keepalive_connections=0, socket_options=_BUFFERED
        )


class Download:
    """One download. ``size``, ``sha256`` and ``media_type`` are known once all pieces were read."""

    def __init__(self, downloader: Downloader, url: str, name: str) -> None:
        self._downloader = downloader
        self._url = url
        self._name = name
        self._hash = hashlib.sha256()
        self._total: int | None = None
        self._validator: str | None = None
        self.size = 0
        self.media_type = ""

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The file, piece by piece. Raises ``DownloadFailed`` instead of an end where it is not whole, or not what it
        should be."""
        end = asyncio.get_running_loop().time() + self._downloader.longest_s
        async with aclosing(self._checked()) as pieces:
            while True:
                try:
                    # Anew for each: they may be read in several tasks, and a time-out cancels the one it was begun in.
                    async with asyncio.timeout_at(end):
                        gathered = await _gather(pieces)
                except TimeoutError:
                    raise DownloadFailed("timeout") from None
                if not gathered:
                    return
                await self._add_to_hash(gathered)
                await self._downloader.pace(len(gathered))
                yield gathered

    async def _add_to_hash(self, piece: bytes) -> None:
        if len(piece) < _HASHED_BYTES:
            self._hash.update(piece)
        else:
            await asyncio.get_running_loop().run_in_executor(None, self._hash.update, piece)

    async def _checked(self) -> AsyncGenerator[bytes, None]:
        head = b""
        async with aclosing(self._resumed()) as pieces:
            async for piece in pieces:
                if not self.media_type:
                    head += piece
                    if len(head) >= _SNIFF_BYTES:
                        self._note_form(head)
                        yield head
                else:
                    yield piece
        if not self.media_type:
            self._note_form(head)
            yield head

    def _note_form(self, head: bytes) -> None:
        found = media_type_of(head, forms_of(self._name))
        if found is None:
            raise DownloadFailed("wrong_type")
        self.media_type = found

    async def _resumed(self) -> AsyncGenerator[bytes, None]:
        for _ in range(MOST_RESUMES):
            size_before = self.size
            try:
                async with self._downloader.pool() as pool, aclosing(self._exchange(pool)) as pieces:
                    async for piece in pieces:
                        self.size += len(piece)
                        if self.size > self._downloader.most_bytes:
                            raise DownloadFailed("too_large", is_final=True)
                        yield piece
            except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
                # Without a validator nobody could tell whether it is the same file still.
                if self.size == size_before or self._validator is None:
                    raise DownloadFailed(_reason(error)) from None
            else:
                return
        raise DownloadFailed("connection_lost")

    async def _exchange(self, pool: httpcore.AsyncConnectionPool) -> AsyncGenerator[bytes, None]:
        url = self._url
        for _ in range(MOST_REDIRECTS + 1):
            target = _read(url)
            headers = {"Host": target[1], "Accept-Encoding": "identity", "User-Agent": "tempolor-gateway"}
            if self.size:
                headers |= {"Range": f"bytes={self.size}-", "If-Range": self._validator or ""}
            # As bytes: the validator is the server's, and need not be ASCII.
            lines = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            limits = {"timeout": {"connect": CONNECT_S, "read": READ_S, "write": READ_S, "pool": CONNECT_S}}
            try:
                async with pool.stream("GET", target[0], headers=lines, extensions=limits) as response:
                    redirect = self._check(response)
                    if redirect is None:
                        async for piece in _body_of(response):
                            yield piece
                        if self._total is not None and self.size != self._total:
                            raise DownloadFailed("wrong_length")
                        return
            except EgressRefused:
                raise DownloadFailed("address_not_public", is_final=True) from None
            try:
                url = urljoin(url, redirect)
            except ValueError:
                raise DownloadFailed("invalid_url", is_final=True) from None
        raise DownloadFailed("too_many_redirects")

    def _check(self, response: httpcore.Response) -> str | None:
        """Check the head of an answer. Returns where it redirects to."""
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        status, length = response.status, headers.get(b"content-length", "")
        if status in (301, 302, 303, 307, 308) and b"location" in headers:
            return headers[b"location"]
        if status in _DEAD_STATUS:
            raise DownloadFailed(LINK_DEAD)
        if status != (206 if self.size else 200):
            # Also a server that knows no ranges: what came before cannot be gone on from.
            raise DownloadFailed(f"http_{status}")
        if headers.get(b"content-encoding", "identity") != "identity":
            raise DownloadFailed("encoded")
        if not self.size:
            if not length.isdigit() and "chunked" not in headers.get(b"transfer-encoding", ""):
                # It would end where the connection does, and nobody could tell an end from a break.
                raise DownloadFailed("length_unknown")
            self._total = int(length) if length.isdigit() else None
            etag = headers.get(b"etag", "")
            self._validator = etag if etag.startswith('"') else headers.get(b"last-modified")
            if self._total is not None and self._total > self._downloader.most_bytes:
                raise DownloadFailed("too_large", is_final=True)
        else:
            self._check_range(headers)
        return None

    def _check_range(self, headers: dict[bytes, str]) -> None:
        """Check that an answer goes on where the file broke off, to its end, and that it is the same file still."""
        found = _CONTENT_RANGE.fullmatch(headers.get(b"content-range", ""))
        if found is None or int(found[1]) != self.size:
            raise DownloadFailed("wrong_range")
        total = int(found[3])
        if int(found[2]) != total - 1 or (self._total or total) != total:
            raise DownloadFailed("wrong_range")
        if headers.get(b"etag", self._validator) != self._validator and (self._validator or "").startswith('"'):
            raise DownloadFailed("changed")
        self._total = total


def _body_of(response: httpcore.Response) -> AsyncIterator[bytes]:
    """The body, by its length past the parser."""
    stream: BodyStream = response.extensions["network_stream"]
    headers = {name.lower(): value for name, value in response.headers}
    if b"transfer-encoding" in headers or b"content-length" not in headers:
        stream.end_head()
        return aiter(response.aiter_stream())
    return stream.body(int(headers[b"content-length"]), READ_S)


async def _gather(pieces: AsyncGenerator[bytes, None]) -> bytes:
    """Some pieces as one; empty at the end. Each is passed on to other threads, which takes as long for a few bytes;
    and who is slow to read gets few at once."""
    gathered, size = list[bytes](), 0
    async for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            break
    return b"".join(gathered)


def _read(url: str) -> tuple[httpcore.URL, str]:
    try:
        read = read_url(url)
    except InvalidRequest:
        raise DownloadFailed("invalid_url", is_final=True) from None
    target = httpcore.URL(scheme=read.raw_scheme, host=read.raw_host, port=read.port, target=read.raw_path)
    return target, read.netloc.decode("ascii")


def _reason(error: Exception) -> str:
    if isinstance(error, (httpcore.TimeoutException, TimeoutError)):
        return "timeout"
    return "connection_lost" if isinstance(error, (httpcore.ReadError, httpcore.ProtocolError)) else "connection_failed"
