"""A question is claimed past items that somebody holds: a locked row costs nobody else a turn."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.reconcile.claims import ClaimTimes, claim_due
from tests.support.databases import on_postgresql
from tests.support.direct_sql import Direct
from tests.support.gateway import make_gateway, make_settings, running_gateway

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LEASE_END = NOW + timedelta(seconds=30)


pytestmark = on_postgresql  # SQLite has one writer and no row locks


@pytest.fixture
async def due(database_url: str) -> Direct:
    """Items that are due, the most overdue first: two songs, then the lyrics."""
    async with running_gateway(database_url, workers=False) as gateway:
        for family, list_key, item_id in (
            ("song", "songs", "t2m_first"),
            ("song", "songs", "t2m_second"),
            ("lyrics", "lyrics", "lyr_third"),
        ):
            body = {list_key: [{"item_id": item_id, "status": "running"}]}
            assert (await gateway.call_back(family, body)).text == "success"
    db = Direct(database_url)
    for minutes, item_id in ((3, "t2m_first"), (2, "t2m_second"), (1, "lyr_third")):
        at = NOW - timedelta(minutes=minutes)
        await db.execute(f"UPDATE items SET query_due_at = '{at.isoformat()}' WHERE item_id = '{item_id}'")
    return db


@pytest.fixture
async def claim(database_url: str) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Claim a question, as the reconciler does."""
    gateway = make_gateway(make_settings(database_url), workers=False)

    async def claimed() -> list[Any]:
        found = await gateway.context.loops_db().write(claim_due, ClaimTimes(NOW, NOW, LEASE_END))
        return [one.item_id for one in found]

    yield claimed
    await gateway.stop()


@contextlib.asynccontextmanager
async def holding(url: str, *item_ids: str) -> AsyncIterator[None]:
    """Another transaction holds these rows, as an apply under way does."""
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            await conn.execute("SELECT 1 FROM items WHERE item_id = ANY($1) FOR NO KEY UPDATE", item_ids)
            yield
    finally:
        await conn.close()


async def test_the_most_overdue_family_is_asked_about_first(due: Direct, claim: Callable[..., Awaitable[Any]]) -> None:
    assert await claim() == ["t2m_first", "t2m_second"]
    assert await claim() == ["lyr_third"]
    assert await claim() == []


async def test_a_held_item_is_left_out_of_its_familys_question(
    due: Direct, claim: Callable[..., Awaitable[Any]]
) -> None:
    async with holding(due.url, "t2m_first"):
        assert await claim() == ["t2m_second"]
    assert await claim() == ["t2m_first"]


async def test_where_all_of_a_family_is_held_the_next_family_is_asked_about(
    due: Direct, claim: Callable[..., Awaitable[Any]]
) -> None:
    async with holding(due.url, "t2m_first", "t2m_second"):
        assert await claim() == ["lyr_third"]
    assert await claim() == ["t2m_first", "t2m_second"]


async def test_where_everything_is_held_nothing_is_claimed_and_nobody_waits(
    due: Direct, claim: Callable[..., Awaitable[Any]]
) -> None:
    async with holding(due.url, "t2m_first", "t2m_second", "lyr_third"):
        assert await claim() == []
    # What was passed over is still due, and only what was claimed is leased.
    assert await claim() == ["t2m_first", "t2m_second"]
    leased = await due.rows("SELECT item_id FROM items WHERE query_leased_until IS NOT NULL ORDER BY 1")
    assert [row["item_id"] for row in leased] == ["t2m_first", "t2m_second"]
