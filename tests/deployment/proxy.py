"""A reverse proxy as a company has one in front: it appends the address that called it to X-Forwarded-For."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

FORWARDED = b"x-forwarded-for"


@dataclass(frozen=True, slots=True)
class Proxy:
    """One request for each connection. ``verbatim``: a badly set up one, which passes on what it was sent."""

    port_behind: int
    verbatim: bool = False

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            behind, writer_behind = await asyncio.open_connection("127.0.0.1", self.port_behind)
            writer_behind.write(self._rewritten(head, writer.get_extra_info("peername")[0]))
            sending = asyncio.create_task(_copy(reader, writer_behind))
            await _copy(behind, writer)
            sending.cancel()
            writer_behind.close()
        writer.close()

    def _rewritten(self, head: bytes, peer: str) -> bytes:
        request, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        fields = [line.partition(b":") for line in lines]
        forwarded = [value.strip() for name, _, value in fields if name.lower() == FORWARDED]
        kept = [line for line, field in zip(lines, fields, strict=True) if field[0].lower() != FORWARDED]
        kept = [line for line in kept if not line.lower().startswith(b"connection:")]
        if not self.verbatim:
            forwarded.append(peer.encode())
        kept += [FORWARDED + b": " + b", ".join(forwarded), b"connection: close"]
        return b"\r\n".join([request, *kept]) + b"\r\n\r\n"


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()


@asynccontextmanager
async def proxying(port_behind: int, *, verbatim: bool = False) -> AsyncIterator[str]:
    """A proxy before that port; its URL."""
    server = await asyncio.start_server(Proxy(port_behind, verbatim).pass_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
