"""Groups of callbacks keep their connections to PostgreSQL from one to the next, past the pool."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa

from app.database import dialect
from app.database.connect import open_database
from app.database.database import Database, Lane, StaleRead
from app.database.postgres import COMMAND_TIMEOUT_S, POOL_SIZES
from app.errors import Unavailable
from app.watching.announce import CHANNEL
from tests.support.databases import on_postgresql
from tests.support.gateway import running_gateway
from tests.support.not_none import present

# What is counted are all connections of a database, and tables are made.
pytestmark = [on_postgresql, pytest.mark.own_database]

BODY = b'{"songs": [{"item_id": "t2m_kept", "status": "running"}]}'
THEN = b'{"songs": [{"item_id": "t2m_kept", "status": "main_succeeded"}]}'
AT_ONCE = 20
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
async def beside(database_url: str) -> "AsyncIterator[asyncpg.Connection[Any]]":
    conn = await asyncpg.connect(database_url)
    yield conn
    await conn.close()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    yield opened.on(Lane.CALLBACKS)
    await opened.close()


@pytest.fixture
def halting(beside: "asyncpg.Connection[Any]") -> Iterator[Callable[..., Any]]:
    """Begins a transaction on a connection whose server process stands still, until it has timed out everywhere."""
    halted: list[Any] = []

    def wake() -> None:
        while halted:
            os.kill(halted.pop(), signal.SIGCONT)

    def halt(conn: sa.Connection) -> Any:
        halted.append(present(conn.connection.driver_connection).get_server_pid())
        os.kill(halted[-1], signal.SIGSTOP)
        asyncio.get_running_loop().call_later(COMMAND_TIMEOUT_S + 1, wake)
        return backend(conn)

    yield halt
    wake()


def backend(conn: sa.Connection) -> Any:
    return dialect.fetch_on_postgresql(conn, "SELECT pg_backend_pid()", ())[0][0]


def slow(conn: sa.Connection) -> Any:
    return dialect.fetch_on_postgresql(conn, "SELECT pg_sleep(0.3), pg_backend_pid()", ())[0][1]


def refused(conn: sa.Connection) -> list[tuple[Any, ...]]:
    return dialect.fetch_on_postgresql(conn, "SELECT 1 / 0", ())


def conflicting(_conn: sa.Connection) -> None:
    raise StaleRead


def marking(conn: sa.Connection) -> list[tuple[Any, ...]]:
    return dialect.fetch_on_postgresql(conn, "INSERT INTO marks VALUES (1)", ())


async def test_connections_that_were_cut_while_idle_fail_no_callback(
    database_url: str, beside: "asyncpg.Connection[Any]"
) -> None:
    async with running_gateway(database_url, workers=False) as gateway:
        task_id = UUID((await gateway.submit())["id"])
        await gateway.call_back("song", BODY, task_id)
        # Each writer needs one.
        unbound = [b'{"songs": [{"item_id": "t2m_%d", "status": "running"}]}' % n for n in range(AT_ONCE)]
        await asyncio.gather(*(gateway.call_back("song", body) for body in unbound))
        cut = await beside.fetch(f"SELECT pg_terminate_backend(pid) {OTHERS} AND application_name = 'tempolor-gateway'")
        assert len(cut) > 2
        answer = await gateway.call_back("song", THEN, task_id)
        assert (answer.status_code, answer.text) == (200, "success")
        assert (await gateway.task(str(task_id)))["status"] == "main_succeeded"


async def test_a_lost_connection_takes_all_that_are_kept_with_it(
    db: Database, beside: "asyncpg.Connection[Any]"
) -> None:
    kept = await asyncio.gather(db.attempt(slow), db.attempt(slow))
    assert len(set(kept)) == 2
    for pid in kept:
        await beside.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(Unavailable, match="the connection broke"):
        await db.attempt(backend)
    assert await db.attempt(backend) not in kept


async def test_what_conflicts_leaves_room_for_whole_transactions(db: Database) -> None:
    await asyncio.gather(db.attempt(slow), db.attempt(slow))
    assert list(await asyncio.gather(db.attempt(conflicting), db.attempt(conflicting))) == [None, None]
    pids = await asyncio.gather(*(db.write(slow) for _ in range(POOL_SIZES[Lane.CALLBACKS])))
    assert len(set(pids)) == POOL_SIZES[Lane.CALLBACKS]


async def test_a_refusal_is_sqlalchemys_error_and_costs_no_connection(db: Database) -> None:
    before = await db.attempt(backend)
    assert await db.attempt(refused) is None
    assert await db.attempt(backend) == before
    with pytest.raises(sa.exc.DBAPIError) as caught:
        await db.write(refused)
    assert getattr(caught.value.orig, "sqlstate", None) == "22012"
    assert not caught.value.connection_invalidated


@pytest.mark.parametrize("given_up_after_s", [0.3, None], ids=["canceled", "timed out"])
async def test_what_is_given_up_while_it_begins_swallows_no_later_transaction(
    db: Database, beside: "asyncpg.Connection[Any]", halting: Callable[..., Any], given_up_after_s: float | None
) -> None:
    await beside.execute("CREATE TABLE marks (n int)")
    turn = asyncio.create_task(db.write(halting))
    if given_up_after_s is None:
        with pytest.raises(Unavailable):
            await turn
    else:
        await asyncio.sleep(given_up_after_s)
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn
    await db.write(marking)
    await db.attempt(marking)
    assert await beside.fetchval("SELECT count(*) FROM marks") == 2


async def test_an_announcement_outlives_the_connection_that_it_was_to_take(
    database_url: str, beside: "asyncpg.Connection[Any]"
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with running_gateway(database_url, workers=False) as gateway:
        await beside.add_listener(CHANNEL, lambda *said: heard.put_nowait(said[3]))
        await gateway.submit()
        await asyncio.wait_for(heard.get(), 10)
        await beside.fetch(f"SELECT pg_terminate_backend(pid) {OTHERS} AND query LIKE '%pg_notify%'")
        await gateway.submit()
        await asyncio.wait_for(heard.get(), 10)


async def test_none_is_left_when_the_database_is_closed(database_url: str, beside: "asyncpg.Connection[Any]") -> None:
    opened = open_database(database_url)
    await asyncio.gather(opened.attempt(slow), opened.attempt(slow))
    assert await beside.fetchval(f"SELECT count(*) {OTHERS}") == 2
    await opened.close()
    assert await beside.fetchval(f"SELECT count(*) {OTHERS}") == 0
