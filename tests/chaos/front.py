"""What stands before replicas in production: one address, behind it whoever takes connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager


class Front:
    """Passes each connection on to the next port that takes it. One that is cut behind it is cut before it."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._turn = 0
        self._open: set[asyncio.Task[None]] = set()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        own = asyncio.current_task()
        assert own is not None
        self._open.add(own)
        try:
            behind = await self._connect()
            if behind is not None:
                await self._pump_both(reader, writer, *behind)
        except asyncio.CancelledError:
            pass
        finally:
            self._open.discard(own)
            writer.transport.abort()

    async def stop(self) -> None:
        for one in list(self._open):
            one.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._ports:
            self._turn = (self._turn + 1) % len(self._ports)
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self._ports[self._turn])
        return None

    async def _pump_both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        reader_behind: asyncio.StreamReader,
        writer_behind: asyncio.StreamWriter,
    ) -> None:
        pumps = [
            asyncio.create_task(_pump(reader, writer_behind)),
            asyncio.create_task(_pump(reader_behind, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer_behind.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()


@asynccontextmanager
async def fronting(port: int, ports: Sequence[int]) -> AsyncIterator[None]:
    """Listen on ``port`` for those behind ``ports``."""
    front = Front(ports)
    server = await asyncio.start_server(front.pass_on, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await front.stop()
