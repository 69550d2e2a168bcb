"""That deleting is cheap and in nobody's way: by index, in no one's locks, by one at a time, and the file shrinks."""

import asyncio
import os
import sqlite3
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.sql.dml import Delete
from sqlalchemy.sql.selectable import Select

from app.database import compact
from app.database.database import Lane
from app.operations import retention_store
from app.operations.retention import Retainer, purge
from app.operations.retention_store import Kind
from tests.support.databases import on_postgresql, on_sqlite
from tests.support.direct_sql import Direct, ids
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import SONG, Running
from tests.support.retention import BY, DAY_S
from tests.support.start_fixtures import Retain

INDEXES = {
    Kind.KEYS: ("ix_idempotency_keys_created_at",),
    Kind.NOTIFICATIONS: ("pk_notifications", "sqlite_autoindex_notifications_1"),
    Kind.CALLBACKS: ("pk_callbacks", "sqlite_autoindex_callbacks_1"),
    Kind.TASKS: ("ix_tasks_finished_at_id",),
}


async def many(gateway: Running, count: int) -> list[Any]:
    """Tasks that were canceled at once."""
    made: list[Any] = []
    while len(made) < count:
        batch = {"tasks": [{"kind": "song.generate", "params": SONG}] * min(100, count - len(made))}
        answer = await gateway.api.post("/v1/tasks/batch", json=batch)
        made += [task["id"] for task in answer.json()["data"]]
    for start in range(0, count, 10):
        some = made[start : start + 10]
        answers = await asyncio.gather(*(gateway.api.post(f"/v1/tasks/{task}/cancel") for task in some))
        assert {answer.status_code for answer in answers} == {200}
    return made


def size(path: str) -> int:
    return os.path.getsize(path)


async def left(db: Direct) -> Any:
    return (await db.rows("SELECT count(*) AS n FROM tasks"))[0]["n"]


def plan_of(conn: sa.Connection, statement: Select[Any] | Delete) -> list[Any]:
    """How the database would run a statement."""
    how = "EXPLAIN" if conn.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"

    def explain(
        _conn: sa.Connection, _cursor: Any, text: str, parameters: Any, _context: Any, _many: Any
    ) -> tuple[str, Any]:
        return f"{how} {text}", parameters

    sa.event.listen(conn, "before_cursor_execute", explain, retval=True)
    try:
        rows = conn.execute(statement).cursor.fetchall()
    finally:
        sa.event.remove(conn, "before_cursor_execute", explain)
    return [str(row[-1]).strip() for row in rows]


# Plans follow the statistics, also those of what other tests wrote and took away.
@pytest.mark.own_database
@pytest.mark.parametrize("kind", list(Kind))
async def test_what_is_old_is_found_and_deleted_by_index(gateway: Running, clock: ScaledClock, kind: Kind) -> None:
    context = gateway.gateway.context
    one = SimpleNamespace(id=context.ids(), client_name="studio", route="POST /v1/tasks", key="order-17")
    place = {Kind.KEYS: (clock.now(),), Kind.TASKS: (clock.now(), one.id)}.get(kind, (one.id,))

    def plans(conn: sa.Connection) -> tuple[Any, Any, Any]:
        retention_store.prefer_index_order(conn)
        first = plan_of(conn, retention_store.page_statement(kind, clock.now(), None, 100))
        next_page = plan_of(conn, retention_store.page_statement(kind, clock.now(), place, 100))
        return first, next_page, plan_of(conn, retention_store.deletion(conn, kind, clock.now(), [one]))

    first, next_page, deletion = await context.db.write(plans)
    for plan in (first, next_page):
        assert any(name in line for name in INDEXES[kind] for line in plan), plan
        assert not any(line.startswith("Sort") or "TEMP B-TREE FOR ORDER BY" in line for line in plan), plan
    for line in (*first, *next_page, *deletion):
        assert "Seq Scan" not in line, line
        assert not line.startswith("SCAN") or line == "SCAN CONSTANT ROW", line


async def test_processes_share_the_work_and_each_row_goes_once(
    gateway: Running, db: Direct, clock: ScaledClock
) -> None:
    context = gateway.gateway.context
    await many(gateway, 60)
    clock.skip(40 * DAY_S)
    gone = await asyncio.gather(*(purge(context.db.on(lane), clock, BY, 30, dry_run=False, rows=20) for lane in Lane))
    assert sum(one["tasks"] for one in gone) == 60
    assert await left(db) == 0


@on_postgresql
async def test_one_process_at_a_time_deletes(gateway: Running, db: Direct, clock: ScaledClock) -> None:
    """Who finds another at it leaves it its turn, and does not wait."""
    context = gateway.gateway.context
    await many(gateway, 5)
    clock.skip(40 * DAY_S)
    entered, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(conn: sa.Connection) -> None:
        assert retention_store.try_lock(conn)
        conn.execute(sa.text("SELECT pg_sleep(0)"))
        loop.call_soon(entered.set)
        for _ in range(20):
            conn.execute(sa.text("SELECT pg_sleep(0.1)"))
            if leave.is_set():
                return

    held = asyncio.create_task(context.db.write(hold))
    await entered.wait()
    assert await Retainer(context, 30).step() is None
    assert await left(db) == 5
    leave.set()
    await held
    while await Retainer(context, 30).step() is not None:  # a turn ends early where it has taken its time
        pass
    assert await left(db) == 0


@on_postgresql
async def test_a_row_that_another_holds_is_passed_over(gateway: Running, db: Direct, clock: ScaledClock) -> None:
    context = gateway.gateway.context
    made = await many(gateway, 5)
    clock.skip(40 * DAY_S)
    entered, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(conn: sa.Connection) -> None:
        conn.execute(sa.text(f"SELECT id FROM tasks WHERE id IN ({ids(made[:2])}) FOR NO KEY UPDATE"))
        loop.call_soon(entered.set)
        for _ in range(40):
            conn.execute(sa.text("SELECT pg_sleep(0.1)"))
            if leave.is_set():
                return

    held = asyncio.create_task(context.db.write(hold))
    await entered.wait()
    assert (await purge(context.db.on(Lane.LOOPS), clock, BY, 30, dry_run=False))["tasks"] == 3
    assert not held.done()
    leave.set()
    await held
    assert (await purge(context.db, clock, BY, 30, dry_run=False))["tasks"] == 2
    assert await left(db) == 0


@on_sqlite
async def test_while_another_process_writes_the_file_is_left_as_it_is(gateway: Running, db: Direct) -> None:
    context = gateway.gateway.context
    await gateway.call_back("song", b'"%s"' % (b"x" * 500_000))
    await db.execute("DELETE FROM callbacks")

    def compact_beside_a_writer(conn: sa.Connection) -> bool:
        # Between the end of the transaction and the pragma somebody else begins one.
        conn.exec_driver_sql("COMMIT")
        other = sqlite3.connect(db.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            return compact.compact(conn)
        finally:
            other.execute("ROLLBACK")
            other.close()

    assert await context.db.write(compact_beside_a_writer) is False
    assert (await db.rows("PRAGMA freelist_count"))[0]["freelist_count"] > 50
    assert await context.db.write(compact.compact) is False
    assert (await db.rows("PRAGMA freelist_count"))[0]["freelist_count"] <= 1
    await gateway.submit()


@on_sqlite
async def test_the_file_gives_the_space_back(gateway: Running, db: Direct, clock: ScaledClock, retain: Retain) -> None:
    await many(gateway, 50)
    for n in range(20):
        await gateway.call_back("song", b'"%d%s"' % (n, b"x" * 100_000))
    clock.skip(1)
    await retain()
    before = size(db.path)
    assert before > 2_000_000
    clock.skip(40 * DAY_S)
    await retain()
    assert await left(db) == 0
    assert size(db.path) < before / 4
    assert size(f"{db.path}-wal") == 0
    [row] = await db.rows("PRAGMA freelist_count")
    assert row["freelist_count"] <= 1
