"""Which of the two databases a test runs on, where it is not both, and what is seen of it from outside."""

import asyncpg
import pytest

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what does not hang on the database."""
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""For what only a shared database shows."""


async def waits_for_a_lock(url: str) -> bool:
    """Whether anybody on this PostgreSQL waits for a lock."""
    conn = await asyncpg.connect(url)
    try:
        return bool(await conn.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
    finally:
        await conn.close()


SECOND_ITEM = (
    "INSERT INTO items SELECT family, 't2m_second', task_id, named_by, 1, status, state, created_at, follow_ups,"
    " NULL, NULL, NULL, NULL, query_attempts, query_group FROM items WHERE item_id = 't2m_first'"
)
"""Names an item ``t2m_second`` of the task that has ``t2m_first``, as another process would."""
