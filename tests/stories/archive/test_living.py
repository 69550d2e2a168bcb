"""Living with the archive: notifications, links that die, copiers that are killed, stores that fail, deletion."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.archive import rows
from app.archive.cleanup import Cleaner
from app.archive.copy import LEASE, Archiver, settle
from app.archive.download import Downloader
from app.archive.file_store import FileStore
from app.archive.verify_and_retry import fault_of, retry_failed
from app.audit.audit import Actor, command_line
from app.database import tables
from app.database.database import Lane
from app.notifications.deliver import Notifier
from app.operations.retention import purge
from app.rules.task import Copy, CopyStatus
from app.runtime.egress import EgressPolicy
from app.wiring import context_of, default_tls_context
from tests.stories.archive.test_copying import _done, _ended_song
from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running, eventually, make_settings
from tests.support.notifications import client_of, deliver, watching
from tests.support.song_callbacks import song
from tests.support.start_fixtures import StartGateway

pytestmark = pytest.mark.real_time


@pytest.fixture
async def gateway(start_gateway: StartGateway, directory: Path, clock: ScaledClock) -> Running:
    """No loops: each step is the test's, by a clock that it moves."""
    return await start_gateway(workers=False, archive_url=f"file://{directory}", egress_allow_private=True, clock=clock)


def _archiver(gateway: Running) -> Archiver:
    store = gateway.gateway.file_store
    assert store is not None
    downloader = Downloader(EgressPolicy(allow_private=True), default_tls_context(), 2**30)
    return Archiver(gateway.gateway.context, store, downloader)


async def _copy_all(archiver: Archiver) -> None:
    while await archiver.step() == 0 or len(archiver._copying):
        await archiver._copying.finish(20)


async def _copies(gateway: Running, task_id: str) -> dict[str, tuple[str, str | None]]:
    task = await gateway.task(task_id)
    artifacts = task["items"][0]["artifacts"]
    return {
        name: (one["archive"]["status"], one["archive"].get("reason"))
        for name, one in artifacts.items()
        if one["archive"]
    }


async def test_a_client_is_told_once_when_the_last_file_is_kept(gateway: Running, files: FileServer) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    studio = await client_of(gateway)
    archiver, notifier = _archiver(gateway), Notifier(gateway.gateway.context, gateway.gateway.webhooks)
    async with watching() as receiver:
        task = await studio.submit(receiver.url())
        early = song(status="main_succeeded", audio_url=files.url("a.mp3"))
        await gateway.call_back("song", early, UUID(task["id"]))
        await _copy_all(archiver)
        await deliver(notifier)
        types = [sent["type"] for sent in await studio.notifications()]
        assert "task.archived" not in types  # the wav is still to come
        await gateway.call_back("song", _done(files), UUID(task["id"]))
        await deliver(notifier)
        assert "task.archived" not in [sent["type"] for sent in await studio.notifications()]
        await _copy_all(archiver)
        await gateway.call_back("song", _done(files, style="pop"), UUID(task["id"]))
        await deliver(notifier)
    types = [sent["type"] for sent in await studio.notifications()]
    assert types.count("task.archived") == 1
    assert types[0] == "task.archived"


async def test_of_a_dead_link_the_vendor_is_asked_for_a_new_one(
    gateway: Running, files: FileServer, clock: ScaledClock
) -> None:
    files.files |= {"a.mp3": File(MP3, status=403), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    archiver = _archiver(gateway)
    await _copy_all(archiver)
    assert await _copies(gateway, task["id"]) == {"audio": ("pending", None), "audio_hi": ("kept", None)}
    due = await gateway.gateway.context.db.read(_query_due)
    assert due is not None  # an ended item is asked about again
    files.files["b.mp3"] = File(MP3)
    await gateway.call_back("song", _done(files, audio="b.mp3"), UUID(task["id"]))
    await _copy_all(archiver)
    assert (await _copies(gateway, task["id"]))["audio"] == ("kept", None)


def _query_due(conn: Any) -> Any:
    return conn.exec_driver_sql("SELECT query_due_at FROM items").scalar()


async def test_it_is_asked_also_where_the_task_has_expired(
    gateway: Running, files: FileServer, clock: ScaledClock
) -> None:
    files.files["a.mp3"] = File(MP3, status=403)
    task, context = await gateway.submit(), gateway.gateway.context
    body = song(status="main_succeeded", audio_url=files.url("a.mp3"))
    await gateway.call_back("song", body, UUID(task["id"]))
    await context.db.write(lambda conn: conn.execute(sa.update(tables.tasks).values(expired_at=clock.now())).rowcount)
    await _copy_all(_archiver(gateway))
    assert (await gateway.task(task["id"]))["status"] == "expired"
    assert await context.db.read(_query_due) is not None


async def test_a_link_that_stays_dead_is_given_up_with_its_reason(
    gateway: Running, files: FileServer, clock: ScaledClock
) -> None:
    files.files["a.wav"] = File(WAV)
    task = await _ended_song(gateway, files)
    archiver = _archiver(gateway)
    for _ in range(3):
        await _copy_all(archiver)
        clock.skip(700)
    assert (await _copies(gateway, task["id"]))["audio"] == ("failed", "link_dead")
    # A new link is a new chance.
    files.files["b.mp3"] = File(MP3)
    await gateway.call_back("song", _done(files, audio="b.mp3"), UUID(task["id"]))
    await _copy_all(archiver)
    assert (await _copies(gateway, task["id"]))["audio"] == ("kept", None)


async def test_what_failed_before_a_link_died_does_not_count(
    gateway: Running, files: FileServer, clock: ScaledClock
) -> None:
    files.files |= {"a.mp3": File(MP3, status=502), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    archiver = _archiver(gateway)
    for _ in range(3):
        await _copy_all(archiver)
        clock.skip(200)
    files.files["a.mp3"] = File(MP3, status=403)
    await _copy_all(archiver)
    # The vendor is asked for a new link first.
    assert (await _copies(gateway, task["id"]))["audio"] == ("pending", None)
    assert await gateway.gateway.context.db.read(_query_due) is not None
    for _ in range(2):
        clock.skip(700)
        await _copy_all(archiver)
    assert (await _copies(gateway, task["id"]))["audio"] == ("failed", "link_dead")


async def test_links_that_live_are_tried_before_those_that_have_ended(
    gateway: Running, files: FileServer, clock: ScaledClock
) -> None:
    files.files |= {"a.mp3": File(MP3, status=403), "b.mp3": File(MP3)}
    archiver = _archiver(gateway)

    async def song_of(item_id: str, file: str) -> str:
        task = await gateway.submit()
        await gateway.call_back("song", song(item_id, "main_succeeded", audio_url=files.url(file)), UUID(task["id"]))
        return task["id"]

    for number in range(6):
        await song_of(f"t2m_{number}", "a.mp3")
    clock.skip(4 * 86_400)
    lives = await song_of("t2m_x", "b.mp3")
    await archiver.step()
    await archiver._copying.finish(20)
    assert (await _copies(gateway, lives))["audio"] == ("kept", None)
    assert 0 < [name for name, _ in files.asked].count("a.mp3") < 4


async def test_a_copy_whose_process_died_is_made_by_another_once_its_lease_is_over(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path
) -> None:
    files.files |= {"a.mp3": File(MP3, pause_s=0.2), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    first, second = _archiver(gateway), _archiver(gateway)
    await first.step()
    await asyncio.sleep(0.3)
    for copying in list(first._copying):
        copying.cancel()
    await first._copying.finish(5)
    await eventually(lambda: _is_empty_but_for(directory, "wav"))  # the store drops what it had of it
    files.files["a.mp3"] = File(MP3)
    await _copy_all(second)
    assert (await _copies(gateway, task["id"]))["audio"][0] == "pending"
    clock.skip(LEASE.total_seconds() + 1)
    await _copy_all(second)
    assert await _copies(gateway, task["id"]) == {"audio": ("kept", None), "audio_hi": ("kept", None)}
    assert len([path for path in directory.rglob("*") if path.is_file()]) == 2


async def test_who_lost_its_lease_settles_nothing(gateway: Running, files: FileServer, clock: ScaledClock) -> None:
    files.files |= {"a.mp3": File(MP3, pause_s=0.1), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    frozen = _archiver(gateway)
    await frozen.step()
    await asyncio.sleep(0.1)
    clock.skip(LEASE.total_seconds() + 1)
    await frozen._copying.finish(20)
    assert (await _copies(gateway, task["id"]))["audio"][0] == "pending"


async def test_a_late_settlement_is_no_ones(gateway: Running, files: FileServer, clock: ScaledClock) -> None:
    task = await _ended_song(gateway, files)
    context = gateway.gateway.context

    async def claim() -> rows.Job:
        now = context.clock.now()
        jobs = await context.db.write(rows.claim, now, now + LEASE, 9, 9, [])
        [job] = [job for job in jobs if job.ref.name == "audio"]
        return job

    first = await claim()
    clock.skip(LEASE.total_seconds() + 1)
    second = await claim()
    assert second.ref == first.ref

    async def settled(job: rows.Job, path: str) -> None:
        kept = Copy(CopyStatus.KEPT, path, 3, "0" * 64, "audio/mpeg")
        reserved = await context.db.write(rows.reserve, lambda _: path, "audio", "studio", context.clock.now(), job.ref)
        await context.db.write(settle, context, job, kept, reserved)

    await settled(first, "a/1.mp3")
    assert (await _copies(gateway, task["id"]))["audio"] == ("pending", None)
    assert await context.db.read(rows.totals) == (0, 0)
    await settled(second, "a/2.mp3")
    assert (await _copies(gateway, task["id"]))["audio"] == ("kept", None)
    assert await context.db.read(rows.totals) == (1, 3)


async def test_a_store_that_fails_loses_nothing_and_counts_against_no_copy(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path
) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    archiver = _archiver(gateway)
    directory.rmdir()
    directory.write_bytes(b"no directory")
    for _ in range(10):
        await _copy_all(archiver)
        clock.skip(120)
    assert set((await _copies(gateway, task["id"])).values()) == {("pending", None)}
    attempts = await gateway.gateway.context.db.read(
        lambda conn: conn.exec_driver_sql("SELECT max(attempts) FROM copy_jobs").scalar()
    )
    assert attempts == 0
    directory.unlink()
    directory.mkdir()
    await _copy_all(archiver)
    assert set((await _copies(gateway, task["id"])).values()) == {("kept", None)}


async def _is_empty_but_for(directory: Path, name: str) -> bool:
    return all(name in path for path in _files_in(directory))


def _files_in(directory: Path) -> list[str]:
    return sorted(os.path.relpath(path, directory) for path in directory.rglob("*") if path.is_file())


async def test_files_go_after_their_tasks(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path
) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    await _copy_all(_archiver(gateway))
    context, store = gateway.gateway.context, gateway.gateway.file_store
    assert store is not None
    cleaner = Cleaner(context, store, 0)
    await cleaner.step()
    assert len(_files_in(directory)) == 2
    clock.skip(40 * 86_400)
    await purge(context.db.on(Lane.LOOPS), context.clock, Actor("cli:test"), 30, dry_run=False)
    assert (await gateway.api.get(f"/v1/tasks/{task['id']}")).status_code == 404
    await cleaner.step()
    assert _files_in(directory) == []
    assert await context.db.read(rows.totals) == (0, 0)


async def test_copies_have_a_retention_of_their_own(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path
) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    await _copy_all(_archiver(gateway))
    store = gateway.gateway.file_store
    assert store is not None
    cleaner = Cleaner(gateway.gateway.context, store, 5)
    await cleaner.step()
    assert len(_files_in(directory)) == 2
    clock.skip(timedelta(days=6).total_seconds())
    await cleaner.step()
    await cleaner.step()
    assert _files_in(directory) == []
    assert set((await _copies(gateway, task["id"])).values()) == {("failed", "retention")}
    # Also where a new link is named later: the vendor's is answered then.
    files.files |= {"b.mp3": File(MP3), "b.wav": File(WAV)}
    await gateway.call_back("song", _done(files, "b.mp3", "b.wav"), UUID(task["id"]))
    await _copy_all(_archiver(gateway))
    assert set((await _copies(gateway, task["id"])).values()) == {("failed", "retention")}
    answer = await gateway.api.get("/v1/items/t2m_1/artifacts/audio", follow_redirects=False)
    assert answer.headers["location"] == files.url("b.mp3")
    await Cleaner(gateway.gateway.context, store, 1e300).step()


async def test_the_end_of_its_copies_does_not_prolong_a_task(
    gateway: Running, files: FileServer, clock: ScaledClock
) -> None:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    task = await _ended_song(gateway, files)
    await _copy_all(_archiver(gateway))
    before = await gateway.task(task["id"])
    context, store = gateway.gateway.context, gateway.gateway.file_store
    assert store is not None
    clock.skip(29 * 86_400)
    await Cleaner(context, store, 20).step()
    after = await gateway.task(task["id"])
    assert (after["version"] > before["version"], after["updated_at"]) == (True, before["updated_at"])
    clock.skip(2 * 86_400)
    gone = await purge(context.db.on(Lane.LOOPS), context.clock, Actor("cli:test"), 30, dry_run=False)
    assert (gone["tasks"], gone["callbacks"]) == (1, 1)


async def test_an_upload_stays_as_long_as_a_task_needs_it(
    gateway: Running, clock: ScaledClock, directory: Path
) -> None:
    store = gateway.gateway.file_store
    assert store is not None
    cleaner = Cleaner(gateway.gateway.context, store, 0)
    unused = (await gateway.api.post("/v1/uploads", content=MP3)).json()
    used = (await gateway.api.post("/v1/uploads", content=WAV)).json()
    body = {"kind": "stems.create", "params": {"url": used["url"]}}
    task = (await gateway.api.post("/v1/tasks", json=body)).json()
    clock.skip(2 * 86_400)
    await cleaner.step()
    await cleaner.step()
    assert len(_files_in(directory)) == 1
    assert used["id"] in _files_in(directory)[0]
    assert unused["id"] not in _files_in(directory)[0]
    await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")
    await cleaner.step()
    assert len(_files_in(directory)) == 1  # a day after its task has ended
    clock.skip(86_500)
    await cleaner.step()
    await cleaner.step()
    assert _files_in(directory) == []
    assert (await gateway.api.post("/v1/tasks", json=body)).status_code == 422


async def test_what_was_given_up_is_tried_again_by_hand_and_the_store_is_checked(
    gateway: Running, files: FileServer, directory: Path
) -> None:
    files.files["a.wav"] = File(WAV)
    task = await _ended_song(gateway, files)
    archiver = _archiver(gateway)
    archiver._downloader.most_bytes = 100
    await _copy_all(archiver)
    assert (await _copies(gateway, task["id"]))["audio_hi"] == ("failed", "too_large")
    archiver._downloader.most_bytes = 2**30
    files.files["a.mp3"] = File(MP3)
    context, store = gateway.gateway.context, gateway.gateway.file_store
    assert store is not None
    assert await retry_failed(context, command_line()) == 1
    await _copy_all(archiver)
    assert (await _copies(gateway, task["id"]))["audio_hi"] == ("kept", None)
    [row] = await context.db.read(rows.list_files, "", 10)
    assert await fault_of(store, row, deep=True) is None
    path = directory / row.path
    path.write_bytes(WAV[:-1] + b"!")
    assert await fault_of(store, row, deep=False) is None
    assert await fault_of(store, row, deep=True) == "its content is not what was recorded"
    path.write_bytes(WAV[:-1])
    assert "bytes instead of" in str(await fault_of(store, row, deep=False))
    path.unlink()
    assert await fault_of(store, row, deep=False) == "it is missing"


@pytest.mark.parametrize("attempts", [0, 6])
async def test_a_link_that_comes_while_the_old_one_is_tried_is_tried_at_once(
    gateway: Running, files: FileServer, clock: ScaledClock, attempts: int
) -> None:
    cut = File(MP3, pause_s=0.1, length=len(MP3) + 1, ranges=False)
    files.files |= {"a.mp3": cut, "a.wav": File(WAV), "b.mp3": File(MP3)}
    task = await _ended_song(gateway, files)
    await gateway.gateway.context.db.write(
        lambda conn: conn.exec_driver_sql(f"UPDATE copy_jobs SET attempts = {attempts}").rowcount
    )
    archiver = _archiver(gateway)
    await archiver.step()
    await asyncio.sleep(0.1)
    await gateway.call_back("song", _done(files, audio="b.mp3"), UUID(task["id"]))
    await _copy_all(archiver)
    assert {name for name, _ in files.asked} == {"a.mp3", "a.wav", "b.mp3"}
    assert (await _copies(gateway, task["id"]))["audio"] == ("kept", None)


async def test_what_was_ready_before_there_was_an_archive_is_not_shown_as_pending(
    start_gateway: StartGateway, files: FileServer, directory: Path
) -> None:
    files.files["s.zip"] = File(b"PK\x05\x06" + bytes(18))
    before = await start_gateway(workers=False, egress_allow_private=True)
    task = await before.submit("stems.create")
    stems = {"stems": [{"item_id": "mss_7", "status": "succeeded", "stems_url": files.url("s.zip")}]}
    await before.call_back("stems", stems, UUID(task["id"]))
    with_one = make_settings("", archive_url=f"file://{directory}", public_url=before.url)
    context, store = before.gateway.context, FileStore(f"file://{directory}")
    before.gateway.services.context = context_of(with_one, context.db, context.clock)
    before.gateway.services.file_store = store
    assert await _copies(before, task["id"]) == {"stems": ("failed", "archive_was_off")}
    path = "/v1/items/mss_7/artifacts/stems"
    assert (await before.api.get(f"{path}/members")).status_code == 410
    assert (await before.api.get(path, follow_redirects=False)).status_code == 307
