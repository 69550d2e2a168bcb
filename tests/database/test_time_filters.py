"""A time filter goes by when a task was accepted, also where its transaction had to wait for another."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta

from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import Running


@on_sqlite
async def test_a_time_filter_finds_a_task_whose_transaction_had_to_wait(gateway: Running, db: Direct) -> None:
    with closing(sqlite3.connect(db.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(gateway.submit())
        await asyncio.sleep(0.4)
        other.execute("ROLLBACK")
        task = await waiting
    soon_after = datetime.fromisoformat(task["created_at"]) + timedelta(milliseconds=50)
    found = await gateway.api.get("/v1/tasks", params={"created_before": soon_after.isoformat()})
    assert [one["id"] for one in found.json()["data"]] == [task["id"]]
    found = await gateway.api.get("/v1/tasks", params={"created_after": soon_after.isoformat()})
    assert found.json()["data"] == []
