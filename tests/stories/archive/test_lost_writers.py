"""Writers that die, freeze or come late: nothing that they leave stays for ever, and they replace nothing."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.archive import rows
from app.archive.cleanup import Cleaner
from app.archive.copy import LEASE, path_of, settle
from app.archive.file_store import FileStore
from app.archive.verify_and_retry import fault_of
from app.audit.audit import Actor
from app.database.database import Lane
from app.operations.retention import purge
from app.rules.task import Copy, CopyStatus
from tests.stories.archive.test_copying import _ended_song
from tests.stories.archive.test_living import _archiver, _copies, _copy_all, _files_in
from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3, WAV, File, FileServer
from tests.support.gateway import Running
from tests.support.not_none import present
from tests.support.start_fixtures import StartGateway

pytestmark = pytest.mark.real_time
OTHER = MP3[:20] + bytes(len(MP3) - 20)


@pytest.fixture
async def gateway(start_gateway: StartGateway, directory: Path, clock: ScaledClock) -> Running:
    """No loops: each step is the test's, by a clock that it moves."""
    return await start_gateway(workers=False, archive_url=f"file://{directory}", egress_allow_private=True, clock=clock)


async def _task(gateway: Running, files: FileServer) -> str:
    files.files |= {"a.mp3": File(MP3), "a.wav": File(WAV)}
    return str((await _ended_song(gateway, files))["id"])


async def _sql(gateway: Running, text: str) -> None:
    await gateway.gateway.context.db.write(lambda conn: conn.exec_driver_sql(text).rowcount)


def _store(gateway: Running) -> FileStore:
    store = gateway.gateway.file_store
    assert store is not None
    return store


async def _clean(gateway: Running) -> None:
    await Cleaner(gateway.gateway.context, _store(gateway), 0).step()


REFUSE = "CREATE TRIGGER refuse BEFORE DELETE ON copy_jobs BEGIN SELECT RAISE(ABORT, 'no'); END"
"""Files are stored, and cannot be recorded: as where the process dies in between."""


@on_sqlite
async def test_a_file_that_was_stored_and_not_recorded_does_not_stay(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path
) -> None:
    await _task(gateway, files)
    await _sql(gateway, REFUSE)
    await _copy_all(_archiver(gateway))
    assert [path.rpartition("/")[2] for path in _files_in(directory)] == ["audio.mp3", "audio_hi.wav"]
    await _sql(gateway, "DROP TRIGGER refuse")
    await _sql(gateway, "DELETE FROM copy_jobs")
    await _clean(gateway)
    assert len(_files_in(directory)) == 2  # it might be recorded yet
    clock.skip(rows.RESERVED.total_seconds() + 1)
    await _clean(gateway)
    assert _files_in(directory) == []


@on_sqlite
async def test_the_next_writer_keeps_a_file_once_and_clears_up_after_the_one_before(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path
) -> None:
    task_id = await _task(gateway, files)
    await _sql(gateway, REFUSE)
    await _copy_all(_archiver(gateway))
    await _sql(gateway, "DROP TRIGGER refuse")
    clock.skip(LEASE.total_seconds() + 1)
    await _copy_all(_archiver(gateway))
    assert set((await _copies(gateway, task_id)).values()) == {("kept", None)}
    assert [path.split("/")[-2:] for path in _files_in(directory)] == [["2", "audio.mp3"], ["2", "audio_hi.wav"]]
    assert await gateway.gateway.context.db.read(rows.totals) == (2, len(MP3) + len(WAV))
    clock.skip(rows.RESERVED.total_seconds() + 1)
    await _clean(gateway)
    assert len(_files_in(directory)) == 2
    assert (await gateway.api.get("/v1/items/t2m_1/artifacts/audio")).content == MP3


async def test_a_writer_that_was_frozen_replaces_nothing(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path
) -> None:
    task_id, context, store = await _task(gateway, files), gateway.gateway.context, _store(gateway)
    frozen = await claimed(gateway, "audio")
    reserved = await reservation_of(gateway, frozen)
    clock.skip(LEASE.total_seconds() + 1)
    await _copy_all(_archiver(gateway))
    assert (await _copies(gateway, task_id))["audio"] == ("kept", None)
    # Now the store completes what the frozen one had sent, and it wakes.
    await store.put(reserved.path, pieces(OTHER))
    late = Copy(CopyStatus.KEPT, reserved.path, len(OTHER), "0" * 64, "audio/mpeg")
    await context.db.write(settle, context, frozen, late, reserved)
    kept = [row for row in await context.db.read(rows.list_files, "", 10) if row.name == "audio"]
    assert [row.path == reserved.path for row in kept] == [False]
    assert await fault_of(store, kept[0], deep=True) is None
    assert (await gateway.api.get("/v1/items/t2m_1/artifacts/audio")).content == MP3
    assert len(_files_in(directory)) == 3
    await _clean(gateway)
    assert sorted(_files_in(directory)) == sorted(row.path for row in await context.db.read(rows.list_files, "", 10))


async def claimed(gateway: Running, name: str) -> rows.Job:
    """The job to copy an artifact, claimed; the others are left as they are."""
    context = gateway.gateway.context
    now = context.clock.now()
    jobs = await context.db.write(rows.claim, now, now + LEASE, 9, 9, [])
    for job in jobs:
        if job.ref.name != name:
            await context.db.write(rows.put_back, job, now)
    return next(job for job in jobs if job.ref.name == name)


async def reservation_of(gateway: Running, job: rows.Job) -> rows.Reservation:
    """A path for the mp3 of a claimed job, as its writer takes it."""
    context = gateway.gateway.context
    path_at = partial(path_of, job, "audio/mpeg")
    return present(await context.db.write(rows.reserve_for, job, path_at, context.clock.now()))


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def test_a_file_whose_task_was_purged_while_it_was_copied_goes_too(
    gateway: Running, files: FileServer, clock: ScaledClock, directory: Path
) -> None:
    task_id, context, store = await _task(gateway, files), gateway.gateway.context, _store(gateway)
    job = await claimed(gateway, "audio")
    reserved = await reservation_of(gateway, job)
    await context.db.write(_end, task_id)
    await purge(context.db.on(Lane.LOOPS), context.clock, Actor("cli:test"), 0, dry_run=False)
    assert (await gateway.api.get(f"/v1/tasks/{task_id}")).status_code == 404
    await _clean(gateway)
    await store.put(reserved.path, pieces(MP3))
    kept = Copy(CopyStatus.KEPT, reserved.path, len(MP3), "0" * 64, "audio/mpeg")
    await context.db.write(settle, context, job, kept, reserved)
    await _clean(gateway)
    assert _files_in(directory) == []
    assert await context.db.read(rows.totals) == (0, 0)


def _end(conn: Any, _task_id: str) -> int:
    return conn.exec_driver_sql("UPDATE tasks SET timer_due_at = NULL, updated_at = finished_at").rowcount


async def test_a_download_that_fails_leaves_no_path_behind(gateway: Running, files: FileServer) -> None:
    await _task(gateway, files)
    files.files["a.mp3"] = File(MP3, length=len(MP3) + 1, ranges=False)
    await _copy_all(_archiver(gateway))

    def listed(conn: Any) -> list[str]:
        return [row[0] for row in conn.exec_driver_sql("SELECT name FROM files")]

    assert await gateway.gateway.context.db.read(listed) == ["audio_hi"]
