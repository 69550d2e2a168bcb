"""What is admitted is bounded in number and in bytes, and whatever becomes of a callback, its room is free again."""

import gzip
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from app.callbacks.admission import MOST_BYTES, MOST_ENTRIES, Admission
from app.errors import Unavailable
from tests.support.gateway import Running

SONG = b'{"songs": [{"item_id": "t2m_1", "status": "running", "prompt": "%s"}]}' % (b"slow " * 500)
MOST_OF_ONE = 1024 * 1024


def fill_and_empty(admission: Admission) -> None:
    """Take all that there is, see that there is no more, and give it back."""
    for _ in range(MOST_ENTRIES):
        admission.enter()
    with pytest.raises(Unavailable):
        admission.enter()
    admission.take_bytes(MOST_BYTES)
    with pytest.raises(Unavailable):
        admission.take_bytes(1)
    for number in range(MOST_ENTRIES):
        admission.leave(0 if number else MOST_BYTES)


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * 65_536


async def test_each_callback_gives_its_room_back(gateway: Running) -> None:
    url = gateway.callback_url("song", UUID((await gateway.submit())["id"]))
    fill_and_empty(gateway.gateway.intake.admission)
    packed = {"Content-Encoding": "gzip"}
    assert (await gateway.api.post(url, content=SONG)).status_code == 200
    assert (await gateway.api.post(url, content=SONG)).status_code == 200
    assert (await gateway.api.post(url, content=gzip.compress(SONG + b" "), headers=packed)).status_code == 200
    assert (await gateway.api.post(url, content=b"no JSON")).status_code == 400
    assert (await gateway.api.post(url, content=b"0" * (MOST_OF_ONE + 1))).status_code == 413
    assert (await gateway.api.post(url, content=_pieces(17))).status_code == 413
    bomb = gzip.compress(b" " * (MOST_OF_ONE + 1))
    assert (await gateway.api.post(url, content=bomb, headers=packed)).status_code == 413
    assert (await gateway.api.post(f"{url[:-1]}~", content=SONG)).status_code == 403
    fill_and_empty(gateway.gateway.intake.admission)
