"""Indexes of large tables are built while callbacks are written, and a build that is cut short is begun again."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from app.database.migrate import migrate
from app.database.schema_revision import head
from tests.support.gateway import eventually

BEFORE = "0002"
"""The last revision before indexes are built."""
BUILDS = "0003"
"""The one that builds them; what comes after it is not made to be done twice."""
BUILT = ("ix_tasks_client_name_dispatch_due_at_id", "ix_timeline_at")


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A PostgreSQL database before the indexes."""
    server = request.getfixturevalue("postgres")
    name = f"builds_{uuid.uuid4().hex}"
    found = server.create_database(name)
    migrate(found, BEFORE)
    yield found
    server.drop_database(name)


@asynccontextmanager
async def connected(url: str, **settings: Any) -> "AsyncIterator[asyncpg.Connection[Any]]":
    conn = await asyncpg.connect(url, server_settings=settings)
    try:
        yield conn
    finally:
        await conn.close()


async def builder(conn: "asyncpg.Connection[Any]") -> int | None:
    """The process id of a session that builds an index and waits for older transactions, if there is one."""
    sql = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database() AND phase LIKE 'waiting %'"
    return await conn.fetchval(sql)


async def valid(conn: "asyncpg.Connection[Any]") -> dict[str, bool]:
    """Which of the indexes there are, and whether each can be used."""
    sql = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indexrelid::regclass::text = ANY($1)"
    return {row[0]: row[1] for row in await conn.fetch(sql, list(BUILT))}


async def revision(conn: "asyncpg.Connection[Any]") -> str:
    return await conn.fetchval("SELECT version_num FROM alembic_version")


async def write(conn: "asyncpg.Connection[Any]") -> None:
    """What callbacks, submissions and the check of a key need of the tables."""
    for table in ("tasks", "items", "timeline", "callbacks", "notifications", "clients"):
        # No row is needed: a statement that may write takes the table's lock all the same.
        await conn.execute(f"DELETE FROM {table}")


async def test_writers_go_on_while_indexes_are_built(url: str) -> None:
    async with connected(url) as old, connected(url, lock_timeout="500ms") as writer:
        # A transaction that has written, and takes its time: a build has to wait for it.
        held = old.transaction()
        await held.start()
        await write(old)
        migrating = asyncio.create_task(asyncio.to_thread(migrate, url))
        await eventually(lambda: builder(writer))
        await write(writer)
        # Longer than the sessions of the gateway wait for a lock, and the migration is not given up.
        await asyncio.sleep(5.5)
        await write(writer)
        assert not migrating.done()
        assert await revision(writer) == BEFORE
        await held.commit()
        await migrating
        assert await valid(writer) == dict.fromkeys(BUILT, True)
        assert await revision(writer) == head()


async def test_a_build_that_is_cut_short_is_begun_again(url: str) -> None:
    async with connected(url) as old, connected(url) as other:
        held = old.transaction()
        await held.start()
        await write(old)
        migrating = asyncio.create_task(asyncio.to_thread(migrate, url, BUILDS))
        pid = await eventually(lambda: builder(other))
        await other.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(sa.exc.SQLAlchemyError):
            await migrating
        await held.commit()
        assert await valid(other) == {BUILT[0]: False}
        assert await revision(other) == BEFORE
        await asyncio.to_thread(migrate, url, BUILDS)
        assert await valid(other) == dict.fromkeys(BUILT, True)
        # What was built and not noted is taken as it is.
        oids = await other.fetch("SELECT indexrelid FROM pg_index ORDER BY 1")
        await other.execute("UPDATE alembic_version SET version_num = $1", BEFORE)
        await asyncio.to_thread(migrate, url, BUILDS)
        assert await other.fetch("SELECT indexrelid FROM pg_index ORDER BY 1") == oids
        assert await revision(other) == BUILDS
