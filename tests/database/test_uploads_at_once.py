"""An upload that a task takes at the moment at which it would be deleted as unused: one of the two comes first."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.archive import uploads
from app.tasks import upload_refs
from tests.stories.archive.conftest import directory
from tests.support.databases import on_postgresql
from tests.support.direct_sql import Direct
from tests.support.file_server import MP3
from tests.support.gateway import Running
from tests.support.start_fixtures import StartGateway

__all__ = ["directory"]

pytestmark = on_postgresql


@pytest.fixture
async def gateway(start_gateway: StartGateway, directory: Path) -> Running:
    return await start_gateway(workers=False, archive_url=f"file://{directory}")


async def test_one_that_is_being_taken_is_left(gateway: Running, db: Direct) -> None:
    upload, task = await _uploaded(gateway), await gateway.submit("stems.create")
    context = gateway.gateway.context
    taken, loop = asyncio.Event(), asyncio.get_running_loop()

    def take(conn: sa.Connection) -> None:
        assert upload_refs.unknown(conn, [upload], "bootstrap") == set()
        upload_refs.note_uses(conn, [(upload, UUID(task["id"]))])
        loop.call_soon(taken.set)
        # Whoever deletes comes between, and the transaction is still open.
        conn.execute(sa.text("SELECT pg_sleep(0.5)"))

    async def delete() -> int:
        await taken.wait()
        return await _doomed(gateway)

    _, deleted = await asyncio.gather(context.db.write(take), delete())
    assert deleted == 0
    assert [row["id"] for row in await db.rows("SELECT id FROM uploads")] == [upload]


async def test_one_that_is_being_deleted_is_not_taken(gateway: Running) -> None:
    upload = await _uploaded(gateway)
    context = gateway.gateway.context
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def delete(conn: sa.Connection) -> int:
        count = uploads.doom_unused(conn, context.clock.now() + timedelta(days=2), 10)
        loop.call_soon(begun.set)
        conn.execute(sa.text("SELECT pg_sleep(0.5)"))
        return count

    async def take() -> Any:
        await begun.wait()
        return await context.db.write(upload_refs.unknown, [upload], "bootstrap")

    deleted, missing = await asyncio.gather(context.db.write(delete), take())
    assert (deleted, missing) == (1, {upload})


async def _uploaded(gateway: Running) -> UUID:
    answer = await gateway.api.post("/v1/uploads", content=MP3, params={"filename": "a.mp3"})
    assert answer.status_code == 201, answer.text
    return UUID(answer.json()["id"])


async def _doomed(gateway: Running) -> int:
    context = gateway.gateway.context
    return await context.db.write(uploads.doom_unused, context.clock.now() + timedelta(days=2), 10)
