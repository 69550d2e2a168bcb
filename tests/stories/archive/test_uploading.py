"""Uploads that are slow, many at once, or cannot be recorded."""

import asyncio
import gzip
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.archive import rows
from app.archive.cleanup import Cleaner
from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3
from tests.support.gateway import ADMIN_KEY, Running, eventually
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway

pytestmark = pytest.mark.real_time


@pytest.mark.parametrize(
    ("content_type", "body", "found"),
    [
        (None, MP3, "audio/mpeg"),
        ("application/octet-stream", MP3, "audio/mpeg"),
        ("application/x-www-form-urlencoded", MP3, "audio/mpeg"),  # curl's own
        ("audio/x-wav", MP3, "audio/mpeg"),
        ("Audio/Ogg; codecs=opus", b"OggS" + bytes(100), "audio/ogg"),
        ("audio/mp4", b"\0\0\0\x20ftypM4A " + bytes(100), "audio/mp4"),
        ("audio/mpeg", bytes(500) + MP3, "audio/mpeg"),  # padding before the first frame
        ("application/octet-stream", b"OggS" + bytes(100), None),
        ("text/plain", MP3, None),
        ("application/json", MP3, None),
        ("audio/", MP3, None),
        ("audio/mpeg", b"<!DOCTYPE html><p>Not Found", None),
        ("audio/mpeg", b'{"error": "not found"}', None),
        ("audio/mpeg", b"", None),
    ],
)
async def test_an_upload_is_what_its_bytes_show_or_else_the_audio_that_its_sender_calls_it(
    gateway: Running, content_type: str | None, body: bytes, found: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type is not None else {}
    answer = await gateway.api.post("/v1/uploads?filename=take", content=body, headers=headers)
    if found is None:
        assert_problem(answer, 422, "invalid_request")
    else:
        assert (answer.status_code, answer.json()["media_type"]) == (201, found)


async def _begun(gateway: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An upload of which a part has been sent."""
    parts = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST /v1/uploads HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
    writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode() + MP3)
    return reader, writer


async def test_an_upload_that_comes_no_further_is_ended(gateway: Running, directory: Path) -> None:
    gateway.gateway.services.bodies.within_s = 0.2
    reader, writer = await _begun(gateway)
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()
    assert not [path for path in directory.rglob("*") if path.is_file()]


async def test_so_many_uploads_at_once_and_no_more(gateway: Running) -> None:
    begun = [await _begun(gateway) for _ in range(8)]
    taken = gateway.gateway.services.uploads._taken

    async def all_begun() -> bool:
        return taken.total() == 8

    await eventually(all_begun)
    refused = await gateway.api.post("/v1/uploads", content=MP3)
    assert_problem(refused, 503, "unavailable")
    assert refused.headers["retry-after"]
    for _, writer in begun:
        writer.transport.abort()

    async def none_left() -> bool:
        return not taken.total()

    await eventually(none_left)
    assert (await gateway.api.post("/v1/uploads", content=MP3)).status_code == 201


@on_sqlite
async def test_of_an_upload_that_could_not_be_recorded_nothing_stays(
    start_gateway: StartGateway, clock: ScaledClock, directory: Path
) -> None:
    gateway = await start_gateway(workers=False, archive_url=f"file://{directory}", clock=clock)
    context, store = gateway.gateway.context, gateway.gateway.file_store
    assert store is not None
    await context.db.write(
        lambda conn: (
            conn.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON uploads BEGIN SELECT RAISE(ABORT, 'no'); END"
            ).rowcount
        )
    )
    assert (await gateway.api.post("/v1/uploads", content=MP3)).status_code == 500
    clock.skip(rows.RESERVED.total_seconds() + 1)
    await Cleaner(context, store, 0).step()
    assert not [path for path in directory.rglob("*") if path.is_file()]


async def test_a_name_that_cannot_be_stored_is_refused_by_its_place(gateway: Running) -> None:
    answer = await gateway.api.post("/v1/uploads?filename=%00", content=MP3)
    assert [fault["path"] for fault in assert_problem(answer, 422, "invalid_request")["errors"]] == ["filename"]


async def test_a_file_that_is_packed_is_refused(gateway: Running) -> None:
    """It would be stored as the audio that its sender calls it, and sent to the vendor."""
    for encoding, content_type in (("gzip", "audio/mpeg"), ("br", "audio/ogg")):
        headers = {"Content-Encoding": encoding, "Content-Type": content_type}
        answer = await gateway.api.post("/v1/uploads", content=gzip.compress(MP3), headers=headers)
        assert "Content-Encoding" in assert_problem(answer, 422, "invalid_request")["detail"]
    plain = await gateway.api.post("/v1/uploads", content=MP3, headers={"Content-Encoding": "identity"})
    assert plain.status_code == 201
