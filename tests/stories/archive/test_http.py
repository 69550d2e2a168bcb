"""A kept file to readers that ask for less, for something else, or leave early (RFC 9110)."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.archive.file_store import READ_BYTES
from tests.stories.archive.test_copying import _archived, _ended_song
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running
from tests.support.song_callbacks import assert_problem

pytestmark = pytest.mark.real_time

PATH = "/v1/items/t2m_1/artifacts/audio"
BIG = MP3 + bytes(40 * READ_BYTES)


@pytest.fixture
async def link(gateway: Running, files: FileServer) -> Any:
    files.files |= {"a.mp3": File(BIG), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    kept = await _archived(gateway, task["id"], "audio")
    return kept["items"][0]["artifacts"]["audio"]["archive"]["url"]


async def test_what_no_range_can_be_of_is_answered_whole(gateway: Running, link: str) -> None:
    for method, wanted in (("HEAD", "bytes=0-9"), ("HEAD", f"bytes={len(BIG)}-"), ("GET", "seconds=0-9")):
        answer = await gateway.api.request(method, PATH, headers={"Range": wanted})
        assert answer.status_code == 200, (method, wanted)
        assert answer.headers["content-length"] == str(len(BIG))
    for wanted, piece in (("Bytes=2-4", BIG[2:5]), (f"bytes={'0' * 30}2-{'0' * 30}4", BIG[2:5])):
        answer = await gateway.api.get(PATH, headers={"Range": wanted})
        assert (answer.status_code, answer.content) == (206, piece)
    far = "9" * 30
    assert (await gateway.api.get(PATH, headers={"Range": f"bytes=-{far}"})).content == BIG
    assert_problem(await gateway.api.get(PATH, headers={"Range": f"bytes={far}-"}), 416, "range_not_satisfiable")


async def test_a_file_is_held_against_the_one_that_its_reader_means(gateway: Running, link: str) -> None:
    etag = (await gateway.api.head(PATH)).headers["etag"]
    for named, status in ((f'"other", {etag}', 200), ("*", 200), ('"other"', 412), (f"W/{etag}", 412)):
        assert (await gateway.api.head(PATH, headers={"If-Match": named})).status_code == status, named
    for named, status in ((f'"other", W/{etag}', 304), ("*", 304), ('"other"', 200)):
        assert (await gateway.api.head(PATH, headers={"If-None-Match": named})).status_code == status, named


async def test_of_a_file_whose_reader_has_gone_no_more_is_read(gateway: Running, link: str) -> None:
    parts, store = urlsplit(link), gateway.gateway.file_store
    assert store is not None
    places, read_at = [], store.read_at

    async def noted(path: str, start: int, length: int) -> bytes:
        places.append(start)
        return await read_at(path, start, length)

    store.read_at = noted  # type: ignore[method-assign]
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    await asyncio.sleep(1)
    assert 0 < len(places) < 30
    assert not any("_disconnected" in repr(task) for task in asyncio.all_tasks())
