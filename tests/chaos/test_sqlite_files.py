"""Files of a SQLite database that are removed or replaced while they are served: nothing is acknowledged that would
end with the process, whoever looks is told, and two processes never serve the same file by two names (G1)."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.database.connect import open_database, parse_url
from app.database.database import Database
from app.database.migrate import migrate
from app.database.schema_revision import check_at_head
from app.database.sqlite import FILES_MAX_AGE_S
from app.database.sqlite_file import FileLock, FileState, OpenFiles
from app.errors import DatabaseInUse, Unavailable, UnsuitableDatabase
from tests.chaos.conftest import Tell
from tests.chaos.load import Load, assert_kept, submit
from tests.chaos.processes import client, serving
from tests.support.commands import environment, run
from tests.support.databases import on_sqlite
from tests.support.gateway import eventually, running_gateway

SIDE_FILES = ("-wal", "-shm")


def body(number: int) -> dict[str, Any]:
    return {"songs": [{"item_id": f"t2m_{number}", "status": "running"}]}


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> str:
    """A migrated file in a folder of its own."""
    (tmp_path / "data").mkdir()
    return str(shutil.copy(sqlite_template, tmp_path / "data" / "gateway.db"))


def names(path: str) -> set[str]:
    """What is in the folder of the file."""
    return set(os.listdir(os.path.dirname(path)))


def _moved(path: str) -> None:
    shutil.move(path, f"{path}.away")


def _removed_with_all(path: str) -> None:
    for suffix in ("", *SIDE_FILES):
        os.unlink(f"{path}{suffix}")


def _replaced(path: str) -> None:
    """By a copy of itself, as one would restore a backup."""
    shutil.copy(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


def _replaced_log(path: str) -> None:
    os.unlink(f"{path}-wal")
    open(f"{path}-wal", "wb").close()


def _folder_moved(path: str) -> None:
    os.rename(os.path.dirname(path), f"{os.path.dirname(path)}.away")


@pytest.mark.parametrize("harm", [_moved, _removed_with_all, _replaced, _replaced_log, _folder_moved])
async def test_nothing_is_acknowledged_while_the_file_is_another(path: str, harm: Callable[[str], None]) -> None:
    async with running_gateway(f"sqlite:///{path}") as gateway:
        assert (await gateway.call_back("song", body(1))).status_code == 200
        before = await gateway.submit()
        harm(path)
        for number in range(2, 6):
            answer = await gateway.call_back("song", body(number))
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        refused = await gateway.api.post("/v1/tasks", json={"kind": "lyrics.generate", "params": {"prompt": "rain"}})
        assert refused.status_code == 503
        assert (await gateway.api.get(f"/v1/tasks/{before['id']}")).status_code == 503
        ready = await gateway.api.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "unreachable")
        assert "it was removed or replaced" in ready.json()["reason"]
        assert str(path) not in ready.text
        # Nothing was made in its place.
        if harm is _moved:
            assert "gateway.db" not in names(path)


async def test_it_goes_on_when_the_file_is_put_back(path: str) -> None:
    async with running_gateway(f"sqlite:///{path}") as gateway:
        assert (await gateway.call_back("song", body(1))).status_code == 200
        os.rename(path, f"{path}.away")
        assert (await gateway.call_back("song", body(2))).status_code == 503
        os.rename(f"{path}.away", path)
        assert (await gateway.call_back("song", body(2))).status_code == 200
        assert (await gateway.api.get("/readyz")).status_code == 200
        for number in (1, 2):
            assert (await gateway.api.get(f"/v1/items/t2m_{number}")).status_code == 200


async def test_what_was_acknowledged_can_be_copied_out_of_the_process(path: str, tmp_path: Path) -> None:
    """As docs/operate.md says."""
    async with running_gateway(f"sqlite:///{path}") as gateway:
        for number in range(5):
            assert (await gateway.call_back("song", body(number))).status_code == 200
        _removed_with_all(path)
        assert (await gateway.call_back("song", body(5))).status_code == 503
        held = {os.readlink(f"/proc/self/fd/{one}"): one for one in os.listdir("/proc/self/fd") if _is_open(one)}
        for suffix in ("", "-wal"):
            shutil.copy(f"/proc/self/fd/{held[f'{path}{suffix} (deleted)']}", tmp_path / f"copy.db{suffix}")
        with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            found = {row[0] for row in copy.execute("SELECT item_id FROM items")}
        assert {f"t2m_{number}" for number in range(5)} <= found


def _is_open(descriptor: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


@pytest.mark.parametrize("removed", [("-wal",), ("-shm",), SIDE_FILES])
async def test_a_log_that_is_removed_is_written_into_the_file_at_once(path: str, removed: tuple[str, ...]) -> None:
    async with running_gateway(f"sqlite:///{path}") as gateway:
        for number in range(5):
            assert (await gateway.call_back("song", body(number))).status_code == 200
        reading = [gateway.api.get("/v1/tasks") for _ in range(10)]
        for suffix in removed:
            os.unlink(f"{path}{suffix}")
        for answer in await asyncio.gather(*reading, gateway.call_back("song", body(5))):
            assert answer.status_code == 200
        # Whoever opens the file now finds all of it, and another log is written.
        assert {f"gateway.db{suffix}" for suffix in SIDE_FILES} <= names(path)
        with sqlite3.connect(path) as other:
            assert other.execute("SELECT count(*) FROM items WHERE item_id LIKE 't2m_%'").fetchone() == (6,)
            assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert (await gateway.call_back("song", body(6))).status_code == 200
        assert (await gateway.api.get("/readyz")).status_code == 200


async def test_a_log_that_is_removed_while_another_process_reads_is_saved_when_it_has_read(path: str) -> None:
    async with running_gateway(f"sqlite:///{path}") as gateway:
        assert (await gateway.call_back("song", body(0))).status_code == 200
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM items").fetchall()
            assert (await gateway.call_back("song", body(1))).status_code == 200
            for suffix in SIDE_FILES:
                os.unlink(f"{path}{suffix}")
            # What was seen a moment ago is believed for so long.
            await asyncio.sleep(2 * FILES_MAX_AGE_S)
            answering = asyncio.create_task(gateway.call_back("song", body(2)))
            await asyncio.sleep(0.2)
            other.execute("COMMIT")
        assert (await answering).status_code == 200
        with contextlib.closing(sqlite3.connect(path)) as found:
            assert found.execute("SELECT count(*) FROM items WHERE item_id LIKE 't2m_%'").fetchone() == (3,)


def test_files_that_are_opened_anew_while_another_thread_looks_are_the_same(path: str) -> None:
    """As the writer does when it has saved a log that was removed."""
    for suffix in SIDE_FILES:
        Path(f"{path}{suffix}").touch()
    files, done = OpenFiles(sa.make_url(f"sqlite:///{path}")), threading.Event()

    def open_anew() -> None:
        while not done.is_set():
            files.forget()
            files.note()
            time.sleep(1e-5)

    opening = threading.Thread(target=open_anew)
    opening.start()
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert files.state() is FileState.SAME
    finally:
        done.set()
        opening.join()


async def test_reading_alone_notices_what_became_of_the_files(path: str) -> None:
    db: Database = open_database(f"sqlite:///{path}")
    await db.read(check_at_head)
    os.unlink(f"{path}-wal")

    async def mended() -> bool:
        await db.read(check_at_head)
        return "gateway.db-wal" in names(path)

    await eventually(mended)
    os.unlink(path)

    async def noticed() -> bool:
        try:
            await db.read(check_at_head)
        except Unavailable as error:
            return "removed or replaced" in str(error)
        return False

    await eventually(noticed)
    await db.close()


async def test_what_was_acknowledged_outlives_its_log_and_a_kill(tmp_path: Path, tell: Tell) -> None:
    path = tmp_path / "gateway.db"
    async with serving(f"sqlite:///{path}", tmp_path) as served, client(served.url) as api:
        async with Load(served.url) as load:
            load.offer(await submit(api, 5))
            for suffix in SIDE_FILES:
                await load.goes_on(20)
                os.unlink(f"{path}{suffix}")
            await load.goes_on(20)
            os.unlink(f"{path}-wal")
            await asyncio.sleep(0.5)
            await served.kill()
        load.assert_only(200, 503, 0)
        await served.start()
        await assert_kept(api, load.acknowledged)
    tell(f"{load.by_status()}")


async def test_a_file_has_one_server_by_whatever_name(path: str, tmp_path: Path) -> None:
    (tmp_path / "symbolic.db").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path / "data")
    async with running_gateway(f"sqlite:///{path}") as gateway:
        for name in (path, tmp_path / "symbolic.db", tmp_path / "folder" / "gateway.db"):
            with pytest.raises(DatabaseInUse, match=r"another serve or worker uses 'gateway\.db'"):
                FileLock(parse_url(f"sqlite:///{name}"), ".lock").acquire(wait=False)
        os.link(path, tmp_path / "hard.db")
        db = open_database(f"sqlite:///{tmp_path}/hard.db")
        with pytest.raises(UnsuitableDatabase, match="has several names"):
            await db.read(check_at_head)
        await db.close()
        for name in ("symbolic.db", "hard.db"):
            ended = await run("serve", "--port", "0", env=environment(f"sqlite:///{tmp_path}/{name}"), cwd=tmp_path)
            assert (ended.code, "Traceback" in ended.err) == (1, False), ended.err
        # Another name does not disturb the one who serves.
        assert (await gateway.call_back("song", body(1))).status_code == 200
        assert (await gateway.api.get("/readyz")).status_code == 200


async def test_a_file_that_a_link_leads_to_is_served_by_the_link(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/real.db")
    (tmp_path / "gateway.db").symlink_to(tmp_path / "real.db")
    migrate(f"sqlite:///{tmp_path}/other.db")
    async with running_gateway(f"sqlite:///{tmp_path}/gateway.db") as gateway:
        assert (await gateway.call_back("song", body(1))).status_code == 200
        (tmp_path / "gateway.db").unlink()
        (tmp_path / "gateway.db").symlink_to(tmp_path / "other.db")
        assert (await gateway.call_back("song", body(2))).status_code == 503


@on_sqlite
async def test_a_second_name_before_the_start_is_refused(tmp_path: Path, database_url: str) -> None:
    os.link(database_url.partition("///")[2], tmp_path / "second.db")
    db = open_database(database_url)
    with pytest.raises(UnsuitableDatabase, match="hard links"):
        await db.read(check_at_head)
    await db.close()
    (tmp_path / "second.db").unlink()
    async with running_gateway(database_url) as gateway:
        assert await eventually(lambda: gateway.api.get("/readyz"))
