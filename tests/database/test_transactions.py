"""What both databases promise to who writes: callbacks first, no wait for rows that refer, deadlocks survived."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa

from app.database.connect import open_database
from app.database.database import Database, Lane
from app.errors import Unavailable
from app.tasks import state_store
from tests.support.databases import on_postgresql, on_sqlite
from tests.support.gateway import running_gateway


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


@on_sqlite
async def test_callbacks_come_before_what_else_waits_for_the_one_writer(opened: Database) -> None:
    is_busy, may_end = threading.Event(), threading.Event()
    order: list[Lane] = []

    def hold(_conn: sa.Connection) -> None:
        is_busy.set()
        may_end.wait(5)

    def note(_conn: sa.Connection, lane: Lane) -> None:
        order.append(lane)

    holding = asyncio.create_task(opened.on(Lane.LOOPS).write(hold))
    await asyncio.to_thread(is_busy.wait, 5)
    came = (Lane.LOOPS, Lane.API, Lane.LOOPS, Lane.CALLBACKS)
    writing = [asyncio.create_task(opened.on(lane).write(note, lane)) for lane in came]
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.gather(holding, *writing)
    assert order == [Lane.CALLBACKS, Lane.API, Lane.LOOPS, Lane.LOOPS]


@on_sqlite
async def test_loops_have_their_turn_while_callbacks_and_requests_never_cease(opened: Database) -> None:
    async def write_always(lane: Lane) -> None:
        while True:
            await opened.on(lane).write(lambda conn: conn.exec_driver_sql("INSERT INTO noted VALUES (1)"))

    await opened.write(lambda conn: conn.exec_driver_sql("CREATE TABLE noted (it)"))
    flood = [asyncio.create_task(write_always(lane)) for lane in (Lane.CALLBACKS, Lane.CALLBACKS, Lane.API)]
    await asyncio.sleep(0)
    count_noted = sa.text("SELECT count(*) FROM noted")
    before = await opened.read(lambda conn: conn.scalar(count_noted) or 0)
    async with asyncio.timeout(5):
        passed_by = await opened.on(Lane.LOOPS).write(lambda conn: conn.scalar(count_noted) or 0) - before
    for task in flood:
        task.cancel()
    assert 0 < passed_by < 50


@on_sqlite
@pytest.mark.parametrize("lane", list(Lane))
async def test_another_process_that_writes_holds_up_who_writes_here_and_nobody_else(
    database_url: str, opened: Database, lane: Lane
) -> None:
    def note(conn: sa.Connection) -> None:
        conn.exec_driver_sql("INSERT INTO noted VALUES (1)")

    other = sqlite3.connect(database_url.partition("///")[2], isolation_level=None)
    with contextlib.closing(other):
        other.execute("CREATE TABLE noted (it)")
        await opened.on(lane).write(note)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(opened.on(lane).write(note))
        turns_begin = time.monotonic()
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert time.monotonic() - turns_begin < 1
        assert not writing.done()
        other.execute("COMMIT")
        await writing
        assert other.execute("SELECT count(*) FROM noted").fetchone() == (2,)


@on_sqlite
@pytest.mark.parametrize("lane", list(Lane))
async def test_whoever_is_canceled_or_fails_leaves_the_writer_to_the_next_one(opened: Database, lane: Lane) -> None:
    def add(conn: sa.Connection, value: int) -> None:
        conn.exec_driver_sql("INSERT INTO noted VALUES (?)", (value,))
        if value == 3:
            raise ValueError("after it was added")

    database = opened.on(lane)
    await database.write(lambda conn: conn.exec_driver_sql("CREATE TABLE noted (it)"))
    under_way, waiting = (asyncio.create_task(database.write(add, value)) for value in (1, 2))
    for _ in range(3):
        await asyncio.sleep(0)
    under_way.cancel()
    waiting.cancel()
    with pytest.raises(ValueError, match="after it was added"):
        await database.write(add, 3)
    await database.write(add, 4)
    found = await database.read(lambda conn: conn.exec_driver_sql("SELECT it FROM noted ORDER BY it").scalars().all())
    # The first one was committed, since it could not be called back any more.
    assert found == [1, 4]


@on_sqlite
@pytest.mark.parametrize("lane", list(Lane))
async def test_whoever_is_canceled_while_he_closes_leaves_what_is_being_written_to_its_end(
    database_url: str, opened: Database, lane: Lane
) -> None:
    def note(conn: sa.Connection, value: int) -> None:
        conn.exec_driver_sql("INSERT INTO noted VALUES (?)", (value,))

    other = sqlite3.connect(database_url.partition("///")[2], isolation_level=None)
    with contextlib.closing(other):
        other.execute("CREATE TABLE noted (it)")
        other.execute("BEGIN IMMEDIATE")
        writing = [asyncio.create_task(opened.on(lane).write(note, value)) for value in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await opened.close()
        other.execute("COMMIT")
        async with asyncio.timeout(2):
            await asyncio.gather(*writing)
        assert other.execute("SELECT it FROM noted ORDER BY it").fetchall() == [(1,), (2,)]


@on_sqlite
@pytest.mark.parametrize("lane", list(Lane))
async def test_no_error_of_a_transaction_stops_the_writer_or_who_reads(opened: Database, lane: Lane) -> None:
    def raise_what_no_future_takes(_conn: sa.Connection) -> None:
        next(iter(()))

    async with asyncio.timeout(2):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await opened.on(lane).write(raise_what_no_future_takes)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await opened.on(lane).read(raise_what_no_future_takes)
        assert await opened.write(lambda _conn: "written") == "written"


@on_sqlite
async def test_a_damaged_file_is_said_to_be_so_each_time(database_url: str, opened: Database) -> None:
    path = database_url.partition("///")[2]
    await opened.write(lambda conn: conn.exec_driver_sql("CREATE TABLE noted (it)"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        # So that no one's copy of the first page is good, and it is read from the file.
        other.execute("INSERT INTO noted VALUES (1)")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _overwrite_header(path)
    errors = []
    async with asyncio.timeout(5):
        for _ in range(3):
            with pytest.raises(Unavailable, match="not a SQLite database") as caught:
                await opened.write(lambda _conn: None)
            # Whoever keeps the error must not keep the connection.
            errors.append(caught.value)
    assert len(errors) == 3


def _overwrite_header(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(b"no database".ljust(100))


@on_postgresql
async def test_the_victim_of_a_deadlock_is_run_again(opened: Database) -> None:
    begun: list[int] = []

    def lock_both(conn: sa.Connection, first: int, second: int) -> None:
        conn.execute(sa.text("SET LOCAL deadlock_timeout = '100ms'"))
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(first)))
        begun.append(first)
        # Until the other one has its first lock too.
        while len(begun) < 2:
            conn.execute(sa.select(sa.func.pg_sleep(0.01)))
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(second)))

    await asyncio.gather(opened.write(lock_both, 1, 2), opened.write(lock_both, 2, 1))
    assert sorted(begun) in ([1, 1, 2], [1, 2, 2])


@on_postgresql
async def test_a_task_is_locked_beside_rows_that_refer_to_it(database_url: str, opened: Database) -> None:
    async with running_gateway(database_url, workers=False) as gateway:
        task_id = UUID((await gateway.submit())["id"])
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            # What PostgreSQL itself takes for each row of a timeline that is added.
            await other.execute("SELECT 1 FROM tasks WHERE id = $1 FOR KEY SHARE", task_id)
            async with asyncio.timeout(2):
                await opened.write(state_store.lock, [task_id])
    finally:
        await other.close()


@on_sqlite
async def test_what_is_committed_is_on_the_disk(opened: Database) -> None:
    """FULL (2): in a write-ahead log NORMAL would lose what was acknowledged when the machine stops."""

    def set_up(conn: sa.Connection) -> tuple[object, object, object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        journal, synchronous, foreign = (conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names)
        return journal, synchronous, foreign

    for lane in Lane:
        assert await opened.on(lane).write(set_up) == ("wal", 2, 1)
