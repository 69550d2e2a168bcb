"""How an answer comes through a real socket: in one packet, and also to who says that it sends no more."""

import asyncio
import socket

import pytest

from app.web.connections import Limits
from tests.support.databases import on_sqlite
from tests.support.gateway import Running
from tests.support.sockets import served


def answers(port: int, times: int) -> list[bytes]:
    """What one read finds of each answer, by a reader that waits for it: it is woken by the first packet."""
    found = []
    with socket.create_connection(("127.0.0.1", port)) as line:
        for _ in range(times):
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            found.append(line.recv(65536))
            while not found[-1].partition(b"\r\n\r\n")[2]:
                found[-1] = found[-1].replace(b"HTTP/1.1 200", b"in pieces") + line.recv(65536)
    return found


@on_sqlite
async def test_an_answer_is_one_packet(gateway: Running) -> None:
    async with served(gateway, Limits()) as port:
        found = await asyncio.to_thread(answers, port, 100)
    assert {one[:12] for one in found} == {b"HTTP/1.1 200"}


def answer_to(port: int, request: bytes) -> bytes:
    """The answer to one who says with the request that no other follows."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65536), b""))


@on_sqlite
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_whoever_will_send_no_more_still_gets_the_answer(gateway: Running, method: str) -> None:
    request = f"{method} /healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with served(gateway, Limits()) as port:
        found = await asyncio.to_thread(lambda: [answer_to(port, request) for _ in range(20)])
    assert {one[:12] for one in found} == {b"HTTP/1.1 200"}
