"""Consoles that are open, as a process of their own: streams of the overview, read and thrown away."""

import asyncio
import sys

import uvloop

from benchmarks.load import HOST


async def follow(port: int, cookie: str, opened: asyncio.Event) -> None:
    """Read one stream until it ends."""
    reader, writer = await asyncio.open_connection(HOST, port)
    head = f"GET /console/overview/stream HTTP/1.1\r\nHost: {HOST}:{port}\r\nCookie: gateway_console={cookie}\r\n\r\n"
    writer.write(head.encode())
    status = await reader.readline()
    assert b" 200 " in status, status
    await reader.readuntil(b"event: ")
    opened.set()
    while await reader.read(1 << 16):
        pass


async def run(port: int, cookie: str, count: int) -> None:
    """Open so many, say so, and keep them open."""
    opened = [asyncio.Event() for _ in range(count)]
    streams = [asyncio.create_task(follow(port, cookie, one)) for one in opened]
    await asyncio.gather(*(one.wait() for one in opened))
    print("open", flush=True)
    await asyncio.gather(*streams)


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
