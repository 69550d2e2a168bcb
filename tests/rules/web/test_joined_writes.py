"""An answer goes out in one piece, and nothing of it is held back."""

import asyncio

import pytest

from app.web.coalesce_writes import JoinedWrites


class Wire(asyncio.Transport):
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__({"peername": ("198.51.100.7", 4)})
        self.sent: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.sent))


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def joined(wire: Wire) -> JoinedWrites:
    return JoinedWrites(wire, asyncio.get_running_loop())


async def test_head_and_body_go_out_together_and_at_once(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(b"head ")
    assert wire.sent == []
    joined.write(b"body")
    assert wire.sent == [b"head body"]
    await asyncio.sleep(0)
    assert wire.sent == [b"head body"]


async def test_a_piece_that_stands_alone_is_sent_within_the_turn(wire: Wire, joined: JoinedWrites) -> None:
    for piece in (b"first", b"second"):
        joined.write(piece)
        await asyncio.sleep(0)
        assert wire.sent[-1] == piece


async def test_nothing_is_lost_or_reordered_by_any_number_of_pieces(wire: Wire, joined: JoinedWrites) -> None:
    for number in range(7):
        joined.write(b"%d" % number)
    await asyncio.sleep(0)
    joined.write(b"7")
    joined.close()
    assert b"".join(wire.sent) == b"01234567"
    assert wire.closing


async def test_what_is_held_is_not_written_to_a_connection_that_has_ended(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(b"head")
    wire.closing = True
    await asyncio.sleep(0)
    joined.write(b"head")
    joined.write(b"body")
    await asyncio.sleep(0)
    assert wire.sent == []


async def test_an_abort_drops_what_is_held(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(b"head")
    joined.abort()
    await asyncio.sleep(0)
    assert wire.sent == []
    assert wire.closing


async def test_what_is_held_counts_as_unread(wire: Wire, joined: JoinedWrites) -> None:
    joined.write(b"head")
    assert joined.get_write_buffer_size() == 4
    assert joined.get_extra_info("peername") == ("198.51.100.7", 4)
    assert not joined.is_closing()
