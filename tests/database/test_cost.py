"""What a turn of the sender costs: probes of an index for each receiver, however much each has pending."""

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from app.notifications import outbox
from app.tasks import notification_rows
from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.notifications import client_of, write, written
from tests.support.start_fixtures import StartGateway
from tests.support.watching import sent_statements

RECEIVERS = 100

# Plans follow the statistics of the rows that a test writes.
pytestmark = pytest.mark.own_database


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Running:
    return await start_gateway(workers=False)


async def fill(gateway: Running, rows_each: int, receivers: int = RECEIVERS) -> None:
    urls = [f"https://{number:03}.hooks.example/" for number in range(receivers)]
    rows = [one for url in urls for one in written(gateway, url, rows_each)]
    for start in range(0, len(rows), 2000):
        await write(gateway, rows[start : start + 2000])


async def statements(
    gateway: Running, fn: Callable[..., Any], *args: Any, **more: Any
) -> tuple[Any, list[tuple[str, Any]]]:
    """What a storage function sends to the database: texts and parameters."""

    def watched(conn: sa.Connection) -> tuple[Any, list[tuple[str, Any]]]:
        with sent_statements(conn) as sent:
            return fn(conn, *args, **more), sent

    return await gateway.gateway.context.db.write(watched)


async def explained(gateway: Running, sent: Any) -> Any:
    """The plans of statements, as text."""

    def explain(conn: sa.Connection) -> list[Any]:
        prefix = "EXPLAIN QUERY PLAN " if conn.dialect.name == "sqlite" else "EXPLAIN "
        return [
            "\n".join(str(row) for row in conn.exec_driver_sql(prefix + text, parameters)) for text, parameters in sent
        ]

    return await gateway.gateway.context.db.write(explain)


async def work(db: Direct, sent: Any) -> Any:
    """How much a database does for a statement: steps of SQLite's machine, pages that PostgreSQL touches."""
    [(text, parameters)] = sent
    if db.is_sqlite:
        file, steps = sqlite3.connect(db.path), 0

        def tick() -> None:
            nonlocal steps
            steps += 1

        file.set_progress_handler(tick, 10)
        file.execute(text, parameters).fetchall()
        file.close()
        return steps * 10
    conn = await asyncpg.connect(db.url)
    try:
        await conn.execute("VACUUM ANALYZE notifications")
        plan = json.loads(await conn.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", *parameters))[0][
            "Plan"
        ]
    finally:
        await conn.close()
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_whose_turn_it_is_and_what_is_due_is_found_by_the_index(gateway: Running, db: Direct) -> None:
    await fill(gateway, 40)
    now = gateway.gateway.context.clock.now()
    one = notification_rows.receiver_of("studio", "https://007.hooks.example:443")
    for is_analyzed in (False, True):
        if is_analyzed:
            await db.execute("ANALYZE notifications")
        (found, cursor), sent = await statements(gateway, outbox.due_receivers, now)
        assert (len(found), cursor) == (RECEIVERS - is_analyzed, "")
        [plan] = await explained(gateway, sent)
        assert "ix_notifications_receiver_due_at" in plan
        assert "Seq Scan on notifications" not in plan
        assert not [line for line in plan.splitlines() if "SCAN notifications" in line and "ix_" not in line]
        until = now.replace(year=9000)
        claimed, sent = await statements(gateway, outbox.claim, one, now, until, 40, rotated_after=now)
        assert len(claimed) == (0 if is_analyzed else 40)
        [plan] = await explained(gateway, [each for each in sent if "FROM notifications" in each[0]])
        assert "ix_notifications_receiver_due_at" in plan
        assert "Seq Scan" not in plan
        assert "SCAN notifications" not in plan


async def test_the_cost_is_that_of_the_receivers_not_of_their_rows(
    gateway: Running, db: Direct, record_property: Callable[[str, object], None]
) -> None:
    await fill(gateway, 4)
    now = gateway.gateway.context.clock.now()
    _, sent = await statements(gateway, outbox.due_receivers, now)
    few = await work(db, sent)
    await fill(gateway, 36)
    began = time.perf_counter()
    (found, _), sent = await statements(gateway, outbox.due_receivers, gateway.gateway.context.clock.now())
    took_ms = (time.perf_counter() - began) * 1000
    many = await work(db, sent)
    unit = "steps" if db.is_sqlite else "pages"
    record_property("figures", f"{few} {unit} for 4 rows each, {many} for 40, {took_ms:.1f} ms")
    assert len(found) == RECEIVERS
    assert many < 2 * few, "ten times the rows"


async def test_what_has_ended_costs_nothing(gateway: Running, db: Direct) -> None:
    await client_of(gateway)
    await fill(gateway, 2, receivers=20)
    now = gateway.gateway.context.clock.now()
    _, sent = await statements(gateway, outbox.due_receivers, now)
    few = await work(db, sent)
    await fill(gateway, 40)
    await db.execute(
        "UPDATE notifications SET due_at = NULL, status = 'delivered' WHERE id NOT IN "
        "(SELECT id FROM notifications ORDER BY id LIMIT 40)"
    )
    (found, _), sent = await statements(gateway, outbox.due_receivers, now)
    assert len(found) == 20
    assert await work(db, sent) < 2 * few
