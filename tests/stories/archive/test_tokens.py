"""A thousand tokens that are none: forged, cut, foreign and outdated. Each is refused, and none opens a file."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest

from app.runtime import base64url
from app.runtime.file_links import ArtifactRef, FileLinks
from tests.stories.archive.test_copying import _archived, _ended_song
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import SECRET, Running

pytestmark = pytest.mark.real_time
OF_EACH = 250


def _token(url: str) -> str:
    return urlsplit(url).path.split("/")[2]


def _bad(good: str, gateway: Running, task_id: UUID, now: datetime) -> Iterator[tuple[str, str]]:
    chance = random.Random(7)
    raw = base64url.decode(good)
    assert raw is not None
    for number in range(OF_EACH):
        changed = bytearray(raw)
        if number % 2:
            changed[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        else:
            changed[:] = chance.randbytes(chance.randrange(1, 200))
        yield "forged", base64url.encode(bytes(changed))
    for number in range(OF_EACH):
        start, end = sorted(chance.sample(range(len(good) + 1), 2))
        yield "cut", good[:end] if number % 2 and end < len(good) else good[max(start, 1) :]
    ref = ArtifactRef("song", "t2m_1", "audio")
    for number in range(OF_EACH):
        other = FileLinks([f"{number:04}{SECRET}"], gateway.url, timedelta(days=7))
        callback = gateway.callback_url("song", task_id if number % 3 else UUID(int=number)).rpartition("/")[2]
        yield "foreign", _token(other.artifact_url(ref, "a.mp3", now)) if number % 2 else callback
    old = FileLinks([SECRET], gateway.url, timedelta(days=7))
    for number in range(OF_EACH):
        then = now - timedelta(days=7, hours=1 + number)
        upload = old.upload_url(UUID(int=number), "a.mp3", now - timedelta(seconds=2 + number))
        yield "outdated", _token(old.artifact_url(ref, "a.mp3", then) if number % 2 else upload)


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.slow)])
async def test_none_of_a_thousand_bad_tokens_opens_a_file(gateway: Running, files: FileServer, every: int) -> None:
    """``every``: how many of them are tried over HTTP too."""
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    kept = await _archived(gateway, task["id"], "audio")
    good = _token(kept["items"][0]["artifacts"]["audio"]["archive"]["url"])
    links, now = gateway.gateway.context.files, gateway.gateway.context.clock.now()
    assert links is not None
    answers: Counter[tuple[str, int]] = Counter()
    async with httpx.AsyncClient(trust_env=False, base_url=gateway.url) as reader:
        for number, (what, token) in enumerate(_bad(good, gateway, UUID(task["id"]), now)):
            assert token != good
            assert links.verify(token, now) is None
            if number % every:
                continue
            answer = await reader.get(f"/files/{token}/a.mp3")
            answers[what, answer.status_code] += 1
            assert MP3[:16] not in answer.content
        assert (await reader.get(f"/files/{good}/a.mp3")).content == MP3
    assert answers == {(what, 403): OF_EACH // every for what in ("forged", "cut", "foreign", "outdated")}
