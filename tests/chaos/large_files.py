"""Files of 200 MB that are made as they are read, and readers that take their time: in a process of their own, so that
what is measured beside them is the gateway."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

SIZE: Final = 200 * 1024 * 1024
READERS: Final = 20
_PIECE: Final = 65_536


class LargeFiles:
    """The process, seen from the test. ``url(number)``: a file."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._port = port

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self._port}/{number}.mp3"

    async def read_slowly(self, url: str) -> None:
        """Have twenty readers begin, at some 80 KB a second each."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{url}\n".encode())
        await self._process.stdin.drain()


@asynccontextmanager
async def large_files() -> AsyncIterator[LargeFiles]:
    """Start the process; it ends with the block."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, stdin=pipe, stdout=pipe)
    try:
        assert process.stdout is not None
        yield LargeFiles(process, int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: %d\r\n\r\n" % SIZE)
    writer.write(b"ID3\x04" + bytes(_PIECE - 4))
    piece = bytes(_PIECE)
    with contextlib.suppress(ConnectionError):
        for _ in range(SIZE // _PIECE - 1):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def _read(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client, client.stream("GET", url) as response:
        async for _ in response.aiter_raw(4096):
            await asyncio.sleep(0.05)


async def _main() -> None:
    async with await asyncio.start_server(_serve, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        url = (await asyncio.to_thread(sys.stdin.readline)).strip()
        await asyncio.gather(*(_read(url) for _ in range(READERS)))
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
