"""A kept connection that the vendor closes just as we write leaves the outcome unknown: no submission takes one."""

import asyncio
import json
from contextlib import suppress

from app.tempolor.answers import Accepted
from app.tempolor.client import VendorClient
from app.tempolor.kinds import FAMILIES, KINDS
from app.wiring import default_tls_context

DATA = {"item_ids": ["t2m_1"], "songs": [{"item_id": "t2m_1", "status": "running"}]}
ANSWER = json.dumps({"status": 200000, "message": "", "request_id": "r", "data": DATA}).encode()


class KeepingVendor:
    """Answers one request after the other on each connection. ``paths``: what was asked, by connection."""

    def __init__(self) -> None:
        self.paths: list[list[str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked: list[str] = []
        self.paths.append(asked)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                [length] = [line for line in head.splitlines() if line.lower().startswith("content-length:")]
                await reader.readexactly(int(length.partition(":")[2]))
                asked.append(head.split(" ")[1])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
        writer.close()


async def test_each_submission_has_a_connection_of_its_own_and_questions_share_one() -> None:
    vendor, song = KeepingVendor(), FAMILIES["song"]
    async with await asyncio.start_server(vendor.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = VendorClient(f"http://127.0.0.1:{port}", "key-0123", default_tls_context())
        for _ in range(3):
            answer = await client.submit(KINDS["song.generate"], {"prompt": "x"}, "https://gw.example/callbacks/x", 5)
            assert isinstance(answer, Accepted)
            await client.query(song, ["t2m_1"])
        await client.close()
    path = KINDS["song.generate"].path
    assert sorted(vendor.paths) == sorted([[path], [path], [path], [song.query_path] * 3])
