"""What is read in the statement that locks it: a task that changed while the statement began is not taken as it was."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa

from app.flows.context import Context
from app.flows.record import Received, Ruling, commit_group
from app.storage import inbox, locking, sets, statements
from app.storage.inbox import digest_of
from app.storage.locking import Obtained
from tests.support.databases import on_postgresql, waits_for_a_lock
from tests.support.gateway import Running, eventually, make_gateway, make_settings, running_gateway
from tests.support.optional import present

SONG = {"songs": [{"item_id": "t2m_first", "status": "running"}]}
SECOND = {"songs": [{"item_id": "t2m_second", "status": "running"}]}


@pytest.fixture
async def gateway(database_url: str) -> AsyncIterator[Running]:
    async with running_gateway(database_url, workers=False) as running:
        yield running


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Context]:
    """A second process on the same database."""
    replica = make_gateway(make_settings(database_url), workers=False)
    yield replica.context
    await replica.stop()


async def task_of(gateway: Running, body: dict[str, list[dict[str, str]]] = SONG) -> UUID:
    """A task with one item, and its id."""
    task_id = UUID((await gateway.submit())["id"])
    assert (await gateway.call_back("song", body, task_id)).text == "success"
    return task_id


@on_postgresql  # SQLite has one writer
async def test_a_task_that_got_an_item_while_the_statement_began_is_left_out(
    gateway: Running, other: Context, database_url: str
) -> None:
    task_id = await task_of(gateway)
    # With ``skip`` the statement would have to begin in the moment before a commit; waiting for it comes to the same.
    waiting = statements.Document(locking.AT_ONCE.sets, partial(locking.at_once, skip=False), locking.AT_ONCE.of_json)

    def read(conn: sa.Connection) -> Obtained:
        return sets.read_document(conn, waiting, ids=[task_id], keys=[], digests=[])

    async with locked_by_another(database_url, task_id) as conn:
        reading = asyncio.create_task(other.db.write(read))
        await eventually(partial(waits_for_a_lock, database_url))
        await conn.execute(
            "INSERT INTO items SELECT family, 't2m_second', task_id, named_by, 1, status, state, created_at,"
            " follow_ups, NULL, NULL, NULL, NULL, query_attempts, query_group FROM items WHERE item_id = 't2m_first'"
        )
        await conn.execute("UPDATE tasks SET timeline_seq = timeline_seq WHERE id = $1", task_id)
    assert await reading == locking.Obtained([], [], [])
    found = await other.db.write(read)
    assert [one.id for one in found.tasks] == [task_id]
    assert [one.item_id for one in found.items] == ["t2m_first", "t2m_second"]


@on_postgresql
async def test_an_items_row_is_read_as_it_is_when_it_is_locked(
    gateway: Running, other: Context, database_url: str
) -> None:
    task_id = await task_of(gateway)

    def read(conn: sa.Connection) -> Obtained:
        return locking.lock_free(conn, [task_id], [])

    conn = await asyncpg.connect(database_url)
    async with conn.transaction():
        # As a question is claimed: without the lock of the task.
        await conn.execute("UPDATE items SET query_attempts = 7 WHERE item_id = 't2m_first'")
        reading = asyncio.create_task(other.db.write(read))
        await eventually(partial(waits_for_a_lock, database_url))
    await conn.close()
    [item] = (await reading).items
    assert item.query_attempts == 7


@on_postgresql
async def test_a_held_task_is_left_out_with_its_items(gateway: Running, other: Context, database_url: str) -> None:
    held, free = await task_of(gateway), await task_of(gateway, SECOND)
    async with locked_by_another(database_url, held):
        found = await other.db.write(locking.lock_free, [held, free], [("song", "t2m_first"), ("song", "t2m_second")])
    assert [one.id for one in found.tasks] == [free]
    assert [one.item_id for one in found.items] == ["t2m_second"]


BODY = b'{"songs": []}'
STORE = (
    "INSERT INTO callbacks (id, digest, family, disposition, detail, body, received_at, last_received_at, count)"
    " VALUES ($1, $2, 'song', $3, $4, $5, $6, $6, 1)"
)


def received_by(context: Context) -> Received:
    """A callback under an unbound token: nothing of it is known that two replicas would both have to lock."""
    digest = digest_of(None, "song", BODY)
    return Received(context.ids(), digest, None, "song", BODY, context.clock.now(), None, ())


async def stored(url: str, context: Context, one: Any, disposition: str, detail: str | None = None) -> None:
    """The same callback, as another process has it in the log."""
    conn = await asyncpg.connect(url)
    await conn.execute(STORE, context.ids(), one.digest, disposition, detail, BODY, one.received_at)
    await conn.close()


async def committed_beside(
    url: str, context: Context, one: Any, sql: str, *values: Any
) -> tuple[Ruling | None, list[tuple[int, str, str | None]]]:
    """Commit a callback while another transaction has run a statement, which commits as soon as it is waited for."""
    conn = await asyncpg.connect(url)
    async with conn.transaction():
        await conn.execute(sql, *values)
        committing = asyncio.create_task(context.db.write(commit_group, [one], context.rules))
        await eventually(partial(waits_for_a_lock, url))
    await conn.close()
    [ruling] = (await committing).rulings
    rows = await context.db.read(inbox.list_page, task_id=None, disposition=None, limit=10)
    return ruling, [(row.times, row.disposition, row.detail) for row in rows]


@on_postgresql
async def test_a_callback_that_another_stores_meanwhile_is_counted_and_not_stored_again(
    gateway: Running, other: Context, database_url: str
) -> None:
    one = received_by(other)
    values = (other.ids(), one.digest, "applied", None, BODY, one.received_at)
    ruling, rows = await committed_beside(database_url, other, one, STORE, *values)
    assert present(ruling).repeated
    assert rows == [(2, "applied", None)]


@on_postgresql
async def test_a_callback_that_another_deletes_meanwhile_is_stored_again(
    gateway: Running, other: Context, database_url: str
) -> None:
    one = received_by(other)
    await stored(database_url, other, one, "applied")
    ruling, rows = await committed_beside(database_url, other, one, "DELETE FROM callbacks")
    assert not present(ruling).repeated
    # It names no item, and no task: nobody's.
    assert rows == [(1, "orphan", None)]


@on_postgresql
async def test_a_repeat_leaves_what_another_made_of_the_callback_meanwhile(
    gateway: Running, other: Context, database_url: str
) -> None:
    one = received_by(other)
    await stored(database_url, other, one, "poisoned", "it could not be applied")
    replayed = "UPDATE callbacks SET disposition = 'applied', detail = NULL"
    _, rows = await committed_beside(database_url, other, one, replayed)
    assert rows == [(2, "applied", None)]


@on_postgresql
@pytest.mark.own_database
async def test_a_repeat_is_known_however_the_database_writes_bytes(
    gateway: Running, other: Context, database_url: str
) -> None:
    conn = await asyncpg.connect(database_url)
    name = await conn.fetchval("SELECT current_database()")
    await conn.execute(f'ALTER DATABASE "{name}" SET bytea_output = escape')
    await conn.close()
    for repeated in (False, True):
        [ruling] = (await other.db.write(commit_group, [received_by(other)], other.rules)).rulings
        assert present(ruling).repeated is repeated


@contextlib.asynccontextmanager
async def locked_by_another(url: str, task_id: UUID) -> "AsyncIterator[asyncpg.Connection[Any]]":
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            await conn.execute("SELECT 1 FROM tasks WHERE id = $1 FOR NO KEY UPDATE", task_id)
            yield conn
    finally:
        await conn.close()
