"""Who must not be refused locks first, and loads in a second statement: what the first one saw may be older."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa

from app.app_context import Context
from app.callbacks.commit import Callback, commit, digest_of
from app.tasks import state_store
from app.tasks.state_store import Rows
from tests.support.databases import SECOND_ITEM, on_postgresql, waits_for_a_lock
from tests.support.gateway import Running, eventually, make_gateway, make_settings
from tests.support.not_none import present

pytestmark = on_postgresql  # SQLite has one writer

SONG = {"songs": [{"item_id": "t2m_first", "status": "running"}]}
KEY = ("song", "t2m_first")


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Context]:
    """A second process on the same database."""
    replica = make_gateway(make_settings(database_url), workers=False)
    yield replica.context
    await replica.stop()


@pytest.fixture
async def task_id(gateway: Running) -> UUID:
    """A task with one item."""
    made = UUID((await gateway.submit())["id"])
    assert (await gateway.call_back("song", SONG, made)).text == "success"
    return made


@contextlib.asynccontextmanager
async def locked_by_another(url: str, sql: str) -> "AsyncIterator[asyncpg.Connection[Any]]":
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            await conn.execute(sql)
            yield conn
    finally:
        await conn.close()


def locked_and_loaded(conn: sa.Connection) -> Rows:
    state_store.lock(conn, (), [KEY])
    return state_store.load(conn, (), [KEY])


async def test_an_item_that_is_added_while_the_task_is_waited_for_is_loaded(
    other: Context, database_url: str, task_id: UUID
) -> None:
    async with locked_by_another(database_url, "SELECT 1 FROM tasks FOR NO KEY UPDATE") as conn:
        loading = asyncio.create_task(other.db.write(locked_and_loaded))
        await eventually(partial(waits_for_a_lock, database_url))
        await conn.execute(SECOND_ITEM)
        await conn.execute("UPDATE tasks SET timeline_seq = timeline_seq")
    found = await loading
    assert [one.id for one in found.tasks] == [task_id]
    assert [one.item_id for one in found.items] == ["t2m_first", "t2m_second"]


async def test_an_item_that_is_changed_while_it_is_waited_for_is_loaded_as_it_is_then(
    other: Context, database_url: str, task_id: UUID
) -> None:
    leased = "UPDATE items SET query_attempts = 7"
    async with locked_by_another(database_url, leased):
        loading = asyncio.create_task(other.db.write(locked_and_loaded))
        await eventually(partial(waits_for_a_lock, database_url))
    assert [one.query_attempts for one in (await loading).items] == [7]


@pytest.mark.own_database
async def test_a_repeat_is_known_however_the_database_writes_bytes(
    gateway: Running, other: Context, database_url: str
) -> None:
    conn = await asyncpg.connect(database_url)
    name = await conn.fetchval("SELECT current_database()")
    await conn.execute(f'ALTER DATABASE "{name}" SET bytea_output = escape')
    await conn.close()
    for repeated in (False, True):
        body = b'{"songs": []}'
        one = Callback(other.ids(), digest_of(None, "song", body), None, "song", body, other.clock.now(), None, ())
        [ruling], _ = await other.db.write(commit, [one], other.rules)
        assert present(ruling).repeated is repeated
