"""The plain way, as a competent team would write it: a FastAPI route, a session per request, get–change–commit.

The same work as the gateway's: token, inbound log, the task's lock, the join, status and version, timeline,
outbox, next query time; acknowledged after the commit. PostgreSQL through asyncpg and an async session; SQLite
through a session in FastAPI's thread pool, its one writer guarded by a pool of one connection, since threads that
wait for the file's lock by polling are slower.
"""

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from app.database.connect import is_sqlite, parse_url
from app.runtime.clock import Clock, Ids
from app.tempolor.callback_tokens import Token, Tokens
from benchmarks import plain_rules as rules
from benchmarks.bodies import SECRET
from benchmarks.plain_tables import Base, Callback, Item, Task
from benchmarks.serving import serve_forever

POOL_SIZE = 20
POOL_OVERFLOW = 12
POOL_TIMEOUT_S = 60
tokens = Tokens([SECRET])
new_id = Ids(Clock().now)


def receive(session: Session, family: str, token: Token, body: bytes, address: str | None) -> None:
    """Store and apply one callback in the session's transaction."""
    at = datetime.now(UTC)
    shown = json.loads(body)["songs"]
    task = session.get(Task, token.task_id, with_for_update={"key_share": True}) if token.task_id else None
    digest = rules.digest_of(token.task_id, family, body)
    known = session.scalar(sa.select(Callback).where(Callback.digest == digest))
    if known is not None:
        known.times += 1
        known.last_received_at = at
        return
    session.add(rules.new_callback(new_id(), digest, token.task_id, family, body, address, at))
    for one in shown:
        _apply(session, family, task, one, at)


def _apply(session: Session, family: str, task: Task | None, shown: dict[str, Any], at: datetime) -> None:
    if task is None:
        item = session.get(Item, (family, shown["item_id"]))
        if item is not None:
            task = session.get(Task, item.task_id, with_for_update={"key_share": True})
        else:
            task = rules.new_external_task(new_id(), family, at)
            session.add(task)
            # Its items refer to it.
            session.flush()
    assert task is not None
    items = list(session.scalars(sa.select(Item).where(Item.task_id == task.id).order_by(Item.position)))
    item = next((one for one in items if one.item_id == shown["item_id"]), None)
    if item is None:
        item = rules.new_item(family, shown["item_id"], task.id, len(items))
        session.add(item)
        items.append(item)
    changed = rules.join_item(item, shown, at)
    milestones = rules.update_task(task, items, at)
    detail = {"item_id": item.item_id, "event": shown.get("event"), "changed": changed}
    session.add(rules.new_entry(task, at, detail))
    if task.webhook_url:
        session.add_all(rules.new_notification(new_id(), task, items, name, at) for name in milestones)


def _verify(family: str, token: str) -> Token:
    found = tokens.verify(family, token)
    if found is None:
        raise HTTPException(403)
    return found


def postgres_app(url: sa.URL) -> FastAPI:
    """The application on PostgreSQL."""
    engine = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={"server_settings": {"jit": "off"}},
    )
    new_session = async_sessionmaker(engine, expire_on_commit=False)
    app = FastAPI()

    @app.post("/callbacks/{family}/{token}")
    async def take(family: str, token: str, request: Request) -> PlainTextResponse:
        found = _verify(family, token)
        body = await request.body()
        address = request.client.host if request.client else None
        try:
            async with new_session() as session, session.begin():
                await session.run_sync(receive, family, found, body, address)
        except IntegrityError:
            # The same new body or item, twice at once: the second finds what the first has stored.
            async with new_session() as session, session.begin():
                await session.run_sync(receive, family, found, body, address)
        return PlainTextResponse("success")

    return app


async def _raw_body(request: Request) -> bytes:
    return await request.body()


def sqlite_app(url: sa.URL) -> FastAPI:
    """The application on SQLite: WAL, durable at each commit."""
    engine = sqlite_engine(url)
    new_session = sessionmaker(engine, expire_on_commit=False)
    app = FastAPI()

    @app.post("/callbacks/{family}/{token}")
    def take(family: str, token: str, body: Annotated[bytes, Depends(_raw_body)], request: Request) -> Any:
        found = _verify(family, token)
        address = request.client.host if request.client else None
        with new_session.begin() as session:
            receive(session, family, found, body, address)
        return PlainTextResponse("success")

    return app


def sqlite_engine(url: sa.URL) -> sa.Engine:
    """An engine whose transactions begin as writers."""
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def create_tables(url: str) -> None:
    """Make the plain way's tables in an empty database."""
    parsed = parse_url(url)
    if is_sqlite(parsed):
        Base.metadata.create_all(sqlite_engine(parsed))
        return

    async def create() -> None:
        engine = create_async_engine(parsed)
        async with engine.begin() as conn:
            await conn.run_sync(Base.metadata.create_all)
        await engine.dispose()

    asyncio.run(create())


if __name__ == "__main__":
    database_url = parse_url(os.environ["DATABASE_URL"])
    serve_forever(sqlite_app(database_url) if is_sqlite(database_url) else postgres_app(database_url))
