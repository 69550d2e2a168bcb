"""Reading a stream of Server-Sent Events, however it is cut into pieces."""

from collections.abc import AsyncIterator

import pytest

from app.cli.forwarding import Event, check_secret, events_of

STREAM = (
    b"id: 1\r\nretry: 1000\r\n\r\n"
    b': ping\r\nid: 2\r\n\r\nevent: task\r\nid: 3\r\ndata: {"lyrics": "a\xe2\x80\xa8b\xc2\x85c"}\r\n\r\n'
    b"data: one\ndata: two\n\n"
    b"data: unfinished"
)
EVENTS = [
    Event("1", b""),
    Event("2", b""),
    Event("3", '{"lyrics": "a\u2028b\u0085c"}'.encode()),
    Event(None, b"one\ntwo"),
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_blocks_are_read_whole(size: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(STREAM), size):
            yield STREAM[start : start + size]

    assert [event async for event in events_of(pieces())] == EVENTS


@pytest.mark.parametrize(
    ("secret", "good"),
    [
        ("whsec_" + "A" * 43 + "=", True),
        ("A" * 43 + "=", False),
        ("whsec_not base64!", False),
        ("whsec_A", False),
        ("whsec_", False),
        ("", False),
    ],
)
def test_what_can_sign(secret: str, good: bool) -> None:
    assert check_secret(secret) is good
