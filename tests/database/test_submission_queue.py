"""Whose task is next: found by an index however long the queue is, past what others hold, and by two replicas as by
one."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from app.limits import parked_tasks
from app.limits.fair_order import lock_next, waiting_clients
from app.tasks import task_rows
from tests.support.databases import on_postgresql
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, eventually
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import monotonic, utc_now
from tests.support.watching import sent_statements

INDEX = "ix_tasks_client_name_dispatch_due_at_id"


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Running:
    return await start_gateway(workers=False)


async def client(gateway: Running, name: str) -> dict[str, Any]:
    made = (await gateway.api.post("/v1/clients", json={"name": name})).json()
    return {"Authorization": f"Bearer {made['api_key']}"}


async def queue(
    gateway: Running, count: int, who: Any = None, kind: str = "lyrics.generate", **params: Any
) -> list[Any]:
    """Queue tasks of one client; their ids, oldest first."""
    task = {"kind": kind, "params": {"prompt": "rain", **params}}
    answer = await gateway.api.post("/v1/tasks/batch", json={"tasks": [task] * count}, headers=who or {})
    assert answer.status_code == 202, answer.text
    return [task["id"] for task in answer.json()["data"]]


async def take(gateway: Running, room: int) -> list[Any]:
    """What would be sent next, oldest of each client first, without sending it."""
    now = utc_now() + timedelta(seconds=1)
    found = await gateway.gateway.context.db.write(lock_next, now, room, {}, None)
    return [str(record.task.id) for record in found.records]


@on_postgresql  # SQLite has one writer and no row locks
async def test_what_another_transaction_holds_is_passed_over(gateway: Running, database_url: str) -> None:
    a, b = [await client(gateway, name) for name in "ab"]
    of_a, of_b = await queue(gateway, 3, a), await queue(gateway, 2, b)
    async with _holding(database_url, of_a[0], *of_b):
        started = monotonic()
        assert await take(gateway, 2) == of_a[1:]
        assert await take(gateway, 1) in ([of_a[1]], [])
        assert monotonic() - started < 3
    assert sorted(await take(gateway, 2)) == sorted([of_a[0], of_b[0]])


@pytest.mark.own_database
async def test_the_cost_does_not_grow_with_the_queue(gateway: Running, database_url: str) -> None:
    """Plans with two thousand queued and eight thousand ended tasks: the index of the turns, never the table."""
    for name in "abc":
        await queue(gateway, 1, await client(gateway, name))
    direct = Direct(database_url)
    await _multiply(direct, 2_000, "a", queued=True)
    await _multiply(direct, 8_000, "b", queued=False)
    await direct.execute("ANALYZE")
    context = gateway.gateway.context
    plans = await context.db.write(_plans, utc_now() + timedelta(seconds=1))
    assert len(plans) >= 3
    for plan in plans:
        assert INDEX in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "TEMP B-TREE" not in plan, plan
        assert "SCAN tasks\n" not in plan, plan
    started = monotonic()
    assert len(await take(gateway, 3)) == 3
    assert monotonic() - started < 2


def _plans(conn: sa.Connection, now: datetime) -> list[Any]:
    """The plan of each statement that takes turns."""
    with sent_statements(conn) as seen:
        waiting_clients(conn, now)
        task_rows.lock_queued(conn, now, 2, "a")
        task_rows.lock_queued(conn, now, 2, "c")
    explain = "EXPLAIN QUERY PLAN " if conn.dialect.name == "sqlite" else "EXPLAIN "
    return [
        "\n".join(str(row[-1]) for row in conn.exec_driver_sql(explain + statement, parameters)) + "\n"
        for statement, parameters in seen
    ]


async def _multiply(direct: Direct, count: int, name: str, *, queued: bool) -> None:
    """Copies of a client's task, queued or ended."""
    columns = [row["name"] for row in await direct.rows(_COLUMNS[direct.is_sqlite])]
    fresh = "lower(hex(randomblob(16)))" if direct.is_sqlite else "gen_random_uuid()"
    numbers = (
        f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n)"
        if direct.is_sqlite
        else f"generate_series(1, {count})"
    )
    values = {"id": fresh} | ({} if queued else {"dispatch_due_at": "NULL", "status": "'succeeded'"})
    chosen = ", ".join(values.get(column, f"t.{column}") for column in columns)
    await direct.execute(
        f"INSERT INTO tasks ({', '.join(columns)}) SELECT {chosen} FROM tasks AS t CROSS JOIN {numbers} AS g"
        f" WHERE t.client_name = '{name}'"
    )


_COLUMNS = {
    True: "SELECT name FROM pragma_table_info('tasks')",
    False: "SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'tasks'",
}


@pytest.mark.own_database
async def test_what_is_parked_is_found_by_an_index_of_its_own(gateway: Running, database_url: str) -> None:
    await queue(gateway, 100)
    some = "SELECT id FROM tasks ORDER BY id LIMIT 3"
    await Direct(database_url).execute(
        f"UPDATE tasks SET parked_as = 'song.generate x' WHERE id IN ({some})", "ANALYZE"
    )

    def plans(conn: sa.Connection) -> list[Any]:
        with sent_statements(conn) as seen:
            parked_tasks.keys(conn)
            parked_tasks.lock_first(conn, "song.generate x")
            parked_tasks.count(conn, "song.generate x")
        if conn.dialect.name == "postgresql":
            # A hundred rows are quicker read than looked up.
            conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN " if conn.dialect.name == "sqlite" else "EXPLAIN "
        return [str(conn.exec_driver_sql(explain + one, given).all()) for one, given in seen]

    found = await gateway.gateway.context.db.write(plans)
    assert len(found) == 3
    assert all("ix_tasks_parked_as_submit_attempts_id" in plan for plan in found), found
    assert not any("Sort" in plan or "TEMP B-TREE" in plan for plan in found[1:2]), found


@on_postgresql  # one process on a SQLite file
async def test_of_a_model_that_is_gone_two_replicas_burn_three_together_and_probe_together(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, retired_models=["gone"])
    clock = ScaledClock()
    one, _ = [await start_gateway(sandbox, clock=clock, submit_max_in_flight=6, loop_idle_s=0.2) for _ in range(2)]
    await queue(one, 20, kind="song.generate", model="gone")
    await queue(one, 2, kind="song.generate", model="tempolor-latest")

    async def burnt_and_done() -> bool:
        tasks = (await one.api.get("/v1/tasks", params={"limit": 200})).json()["data"]
        return Counter(task["status"] for task in tasks) == Counter(failed=3, queued=17, succeeded=2)

    def sent() -> int:
        return sum(call.operation == "submit" for call in sandbox.calls)

    await eventually(burnt_and_done, timeout_s=40, every_s=0.2)
    before = sent()
    clock.skip(61)
    await eventually(lambda: _is(sent() > before))
    await asyncio.sleep(0.4)
    assert sent() == before + 1, "one probe"
    await eventually(burnt_and_done, every_s=0.2)


async def _is(value: Any) -> Any:
    return value


@contextlib.asynccontextmanager
async def _holding(url: str, *task_ids: str) -> AsyncIterator[None]:
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            await conn.execute("SELECT 1 FROM tasks WHERE id = ANY($1::uuid[]) FOR NO KEY UPDATE", task_ids)
            yield
    finally:
        await conn.close()
