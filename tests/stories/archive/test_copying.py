"""Kept means kept (G13): a file that is shown as archived is whole, of the recorded digest, and what its name says."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running, eventually
from tests.support.not_none import present
from tests.support.song_callbacks import song

pytestmark = pytest.mark.real_time


def _done(files: FileServer, audio: str = "a.mp3", audio_hi: str = "a.wav", **more: Any) -> dict[str, Any]:
    return song(
        status="succeeded",
        audio_hi_status="sub_succeeded",
        lyrics_sections_status="sub_succeeded",
        title="Häfen / Lichter",
        audio_url=files.url(audio),
        audio_hi_url=files.url(audio_hi),
        lyrics_sections=[{"start": 0.5, "end": 2.5, "text": "la"}],
        **more,
    )


async def _ended_song(gateway: Running, files: FileServer) -> dict[str, Any]:
    """A task whose song has come, with an mp3 and a wav."""
    task = await gateway.submit()
    await gateway.call_back("song", _done(files), UUID(task["id"]))
    return task


async def _archived(gateway: Running, task_id: str, name: str, status: str = "kept", timeout_s: float = 10) -> Any:
    async def reached() -> Any:
        task = await gateway.task(task_id)
        copy = task["items"][0]["artifacts"][name]["archive"]
        return task if copy["status"] == status else None

    return await eventually(reached, timeout_s=timeout_s)


async def test_files_are_copied_and_shown_with_what_was_recorded(
    gateway: Running, files: FileServer, directory: Path
) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV, "audio/x-wav")}
    task = await _ended_song(gateway, files)
    await _archived(gateway, task["id"], "audio")
    found = await _archived(gateway, task["id"], "audio_hi")
    artifacts = found["items"][0]["artifacts"]
    for name, body, media_type in (("audio", MP3, "audio/mpeg"), ("audio_hi", WAV, "audio/wav")):
        copy = artifacts[name]["archive"]
        assert (copy["bytes"], copy["media_type"]) == (len(body), media_type)
        assert copy["sha256"] == hashlib.sha256(body).hexdigest()
        assert "reason" not in copy
    created = found["created_at"]
    place = directory / "bootstrap" / created[:4] / created[5:7] / task["id"] / "t2m_1"
    assert sorted(path.name for path in place.iterdir()) == ["audio.mp3", "audio_hi.wav"]
    assert (place / "audio.mp3").read_bytes() == MP3
    assert found["version"] > 1


async def test_an_accompaniment_is_kept_in_whatever_form_of_sound_it_comes(gateway: Running, files: FileServer) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV), "b.wav": File(WAV)}
    task = await gateway.submit()
    await gateway.call_back("song", _done(files, audio_bgm_url=files.url("b.wav")), UUID(task["id"]))
    found = await _archived(gateway, task["id"], "bgm")
    assert found["items"][0]["artifacts"]["bgm"]["archive"]["media_type"] == "audio/wav"


async def test_a_download_that_breaks_off_goes_on_where_it_was(gateway: Running, files: FileServer) -> None:
    files.files |= {"a.mp3": File(MP3, cut_after=5000, cuts=2), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    found = await _archived(gateway, task["id"], "audio")
    assert found["items"][0]["artifacts"]["audio"]["archive"]["sha256"] == hashlib.sha256(MP3).hexdigest()
    starts = [start for name, start in files.asked if name == "a.mp3"]
    assert starts[0] is None
    assert len(starts) == 3
    assert None not in starts[1:]


OTHER = MP3[:20] + bytes(len(MP3) - 20)
BAD = {
    "html": File(b"<!DOCTYPE html><html><body>Sorry</body></html>" * 100),
    "short": File(MP3, length=len(MP3) + 1000, ranges=False),
    "no length": File(MP3, length=None),
    "wav for mp3": File(WAV),
    "empty": File(b""),
    "dead": File(MP3, status=403),
    "error": File(MP3, status=500),
    "another after a break, without a validator": File(MP3, etag=None, cut_after=5000, then=OTHER),
    "longer after a break": File(MP3, etag=None, cut_after=5000, then=MP3 + OTHER),
    "another after a break, of another tag": File(MP3, cut_after=5000, then=OTHER, etag_then='"v2"'),
    "half a rest, chunked": File(MP3, chunked=True, cut_after=5000, part=1000),
    "cut": File(MP3, cut_after=3000, cuts=10**6, ranges=False),
}


async def test_what_is_not_whole_or_not_what_it_says_is_never_kept(
    gateway: Running, files: FileServer, directory: Path
) -> None:
    files.files["a.wav"] = File(WAV)
    tasks: dict[str, str] = {}
    for number, (what, bad) in enumerate(BAD.items()):
        files.files[f"{number}.mp3"] = File(**vars(bad))
        tasks[what] = (await gateway.submit())["id"]
        done = _done(files, f"{number}.mp3", item_id=f"t2m_{number}")
        await gateway.call_back("song", done, UUID(tasks[what]))
    for task_id in tasks.values():
        await _archived(gateway, task_id, "audio_hi")

    async def all_tried() -> bool:
        return {name for name, _ in files.asked} == files.files.keys()

    await eventually(all_tried)
    await asyncio.sleep(0.2)
    states = {what: (await gateway.task(task_id))["items"][0]["artifacts"] for what, task_id in tasks.items()}
    assert {what: found["audio"]["archive"]["status"] for what, found in states.items()} == dict.fromkeys(
        BAD, "pending"
    )
    assert {path.name for path in directory.rglob("audio*") if path.is_file()} == {"audio_hi.wav"}
    # Once it is right, it is kept.
    files.files |= {f"{number}.mp3": File(MP3) for number in range(len(BAD))}
    await gateway.gateway.context.db.write(_all_due)
    gateway.gateway.context.wakes.archive.set()
    for task_id in tasks.values():
        await _archived(gateway, task_id, "audio")


def _all_due(conn: Any) -> None:
    conn.exec_driver_sql("UPDATE copy_jobs SET due_at = created_at")


async def test_a_file_that_is_too_large_is_given_up(gateway: Running, files: FileServer) -> None:
    present(present(gateway.gateway.workers).archiver)._downloader.most_bytes = 4000
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV, chunked=True)}
    task = await _ended_song(gateway, files)
    for name in ("audio", "audio_hi"):
        found = await _archived(gateway, task["id"], name, "failed")
        assert found["items"][0]["artifacts"][name]["archive"]["reason"] == "too_large"


async def test_without_an_archive_nothing_is_fetched(start_gateway: Any, files: FileServer) -> None:
    gateway = await start_gateway(egress_allow_private=True)
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    await asyncio.sleep(0.3)
    found = await gateway.task(task["id"])
    assert found["items"][0]["artifacts"]["audio"]["archive"] is None
    assert files.asked == []


async def test_a_download_without_end_counts_as_failed(gateway: Running, files: FileServer, directory: Path) -> None:
    present(present(gateway.gateway.workers).archiver)._downloader.longest_s = 0.3
    files.files |= {"a.mp3": File(MP3, pause_s=0.25), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    await _archived(gateway, task["id"], "audio_hi")
    await eventually(lambda: gateway.gateway.context.db.read(_attempts))
    await eventually(lambda: _is_alone(directory, "audio_hi.wav"))


def _attempts(conn: Any) -> Any:
    return conn.exec_driver_sql("SELECT max(attempts) FROM copy_jobs").scalar()


async def _is_alone(directory: Path, name: str) -> bool:
    return [path.name for path in directory.rglob("*") if path.is_file()] == [name]


@pytest.mark.parametrize("location", ["http://[x", "//[", "http://h:x/"])
async def test_a_redirect_to_nowhere_is_given_up(gateway: Running, files: FileServer, location: str) -> None:
    files.files |= {"a.mp3": File(b"", location=location), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    found = await _archived(gateway, task["id"], "audio", "failed")
    assert found["items"][0]["artifacts"]["audio"]["archive"]["reason"] == "invalid_url"


async def test_what_tells_versions_of_a_file_apart_need_not_be_ascii(gateway: Running, files: FileServer) -> None:
    files.files |= {"a.mp3": File(MP3, etag='"v\xe9"', cut_after=5000), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    await _archived(gateway, task["id"], "audio")
    assert [start for name, start in files.asked if name == "a.mp3"] == [None, "5000"]
