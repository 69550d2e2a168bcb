"""When work is called stuck, and the gauges that tell the same: thresholds from the settings."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.database.tables import items, notifications, tasks
from app.runtime.loops import Loop
from app.settings import BadSettings, load_settings
from tests.stories.operations.test_outcomes import value
from tests.support.databases import on_sqlite
from tests.support.gateway import Running, make_settings, running_gateway
from tests.support.notifications import client_of, write, written
from tests.support.song_callbacks import song
from tests.support.start_fixtures import StartGateway
from tests.support.virtual_time import utc_now


async def backlog(gateway: Running, code: int) -> dict[str, Any]:
    answer = await gateway.api.get("/backlog")
    assert answer.status_code == code, answer.text
    return answer.json()


async def aged(gateway: Running, table: sa.Table, column: str, seconds: float) -> None:
    """Set a time of all rows so far back."""
    at = utc_now() - timedelta(seconds=seconds)
    await gateway.gateway.context.db.write(lambda conn: conn.execute(table.update().values({column: at})))


async def test_a_queued_task_is_stuck_after_the_age_that_the_settings_name(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False, backlog_queued_age_s=60)
    await gateway.submit()
    await aged(gateway, tasks, "dispatch_due_at", 30)
    assert (await backlog(gateway, 200))["overdue_submissions"] == 0
    await aged(gateway, tasks, "dispatch_due_at", 90)
    found = await backlog(gateway, 503)
    assert found["overdue_submissions"] == 1
    assert found["thresholds_s"]["queued_age"] == 60


async def test_a_query_is_stuck_after_the_delay_that_the_settings_name(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False, backlog_query_overdue_s=10)
    await gateway.call_back("song", song(), UUID((await gateway.submit())["id"]))
    await aged(gateway, items, "query_due_at", 5)
    assert (await backlog(gateway, 200))["overdue_queries"] == 0
    await aged(gateway, items, "query_due_at", 15)
    assert (await backlog(gateway, 503))["overdue_queries"] == 1


async def test_a_notification_is_stuck_after_the_delay_that_the_settings_name(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False, backlog_notification_overdue_s=10)
    await client_of(gateway)
    await write(gateway, written(gateway, "https://receiver.example/", 3))
    await aged(gateway, notifications, "due_at", 5)
    assert (await backlog(gateway, 200))["undelivered_notifications"] == 0
    await aged(gateway, notifications, "due_at", 15)
    assert (await backlog(gateway, 503))["undelivered_notifications"] == 3
    await gateway.gateway.health.survey()
    assert value("gateway_overdue", what="notifications") == 3
    assert value("gateway_outbox_pending") == 3
    assert 15 <= value("gateway_outbox_oldest_due_age_seconds") < 60


@on_sqlite
async def test_a_loop_is_stalled_after_the_time_that_the_settings_name(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False, backlog_loop_stalled_s=0.5)
    health = gateway.gateway.health
    health.loop_ages_s = lambda: {"dispatch": 0.4, "reconcile": 0.6}
    assert (await backlog(gateway, 503))["stalled_loops"] == ["reconcile"]


@on_sqlite
async def test_a_loop_that_rests_for_long_is_not_stalled_and_one_that_hangs_is_named(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = await start_gateway(archive_url=f"file://{tmp_path}", loop_idle_s=60)
    supervisor, hanging = gateway.gateway.supervisor, asyncio.Event()

    async def hang() -> float | None:
        await hanging.wait()
        return 3600

    supervisor.start(Loop("hangs", hang, delay_s=100))
    for _ in range(4):
        await asyncio.sleep(25)
        assert (await backlog(gateway, 200))["stalled_loops"] == []
    ages_s = supervisor.ages_s()
    assert {"retain", "archive-cleanup", "readiness-warnings", "balance", "keys", "hangs"} < ages_s.keys()
    assert max(ages_s.values()) < 0.1
    await asyncio.sleep(29.9)
    assert (await backlog(gateway, 200))["stalled_loops"] == []
    await asyncio.sleep(0.2)
    assert (await backlog(gateway, 503))["stalled_loops"] == ["hangs"]
    await gateway.api.get("/metrics")
    assert value("gateway_loop_heartbeat_age_seconds", loop="hangs") == pytest.approx(30.1, abs=0.1)
    assert value("gateway_loop_heartbeat_age_seconds", loop="retain") == 0
    hanging.set()
    await asyncio.sleep(0.1)
    assert (await backlog(gateway, 200))["stalled_loops"] == []


async def test_the_age_of_the_oldest_is_told_for_each_open_status(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    for _ in range(3):
        await gateway.submit()
    await aged(gateway, tasks, "created_at", 1000)
    await gateway.call_back("song", song(), UUID((await gateway.submit())["id"]))
    await asyncio.sleep(1)
    await gateway.gateway.health.survey()
    assert 1000 <= value("gateway_oldest_task_age_seconds", status="queued") < 1060
    assert 0 < value("gateway_oldest_task_age_seconds", status="running") < 60
    assert value("gateway_oldest_task_age_seconds", status="unconfirmed") == 0
    assert (await backlog(gateway, 200))["oldest_s"]["queued"] >= 1000


@on_sqlite
async def test_the_oldest_are_found_by_an_index(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    seen: list[str] = []

    def explain(conn: sa.Connection) -> None:
        first = sa.select(tasks.c.created_at).where(tasks.c.status == "queued").order_by(tasks.c.id).limit(1)
        due_at = notifications.c.due_at
        due = sa.select(due_at).where(due_at.is_not(None)).order_by(due_at).limit(1)
        for statement in (first, due):
            text = str(statement.compile(conn, compile_kwargs={"literal_binds": True}))
            seen.extend(row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))

    await gateway.gateway.context.db.read(explain)
    assert "ix_tasks_status_id" in seen[0]
    assert "ix_notifications_due_at" in seen[1]
    assert not any("TEMP B-TREE" in one for one in seen)


@pytest.mark.parametrize("name", ["QUERY_OVERDUE_S", "NOTIFICATION_OVERDUE_S", "QUEUED_AGE_S", "LOOP_STALLED_S"])
def test_a_threshold_is_a_decimal_above_0(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    variable = f"GATEWAY_BACKLOG_{name}"
    monkeypatch.setenv(variable, "0")
    with pytest.raises(BadSettings) as raised:
        load_settings()
    assert any(fault.startswith(f"{variable}:") for fault in raised.value.faults)
    given = {f"backlog_{name.lower()}": "0.5"}
    thresholds = make_settings("sqlite+aiosqlite:///x.db", **given).thresholds()
    assert getattr(thresholds, name.lower()) == 0.5


@on_sqlite
async def test_metrics_are_no_statement(start_gateway: StartGateway) -> None:
    """A scrape reads what the loop has counted: it answers while the database is away."""
    gateway = await start_gateway(workers=False)
    await gateway.gateway.health.survey()
    await gateway.gateway.context.db.close()
    answer = await gateway.api.get("/metrics")
    assert answer.status_code == 200
    assert "gateway_oldest_task_age_seconds" in answer.text


async def test_it_says_that_no_process_dispatches(start_gateway: StartGateway) -> None:
    """Nothing is stuck by that until something is queued."""
    gateway = await start_gateway(workers=False)
    started_at = utc_now()
    await asyncio.sleep(25)
    assert (await backlog(gateway, 200))["standing_still"] == {}
    await asyncio.sleep(25)
    found = (await backlog(gateway, 200))["standing_still"]["workers"]
    assert found["reason"] == "no_process_dispatches"
    assert abs(datetime.fromisoformat(found["since"]) - started_at) < timedelta(seconds=1)
    await gateway.submit()
    await asyncio.sleep(0.1)
    assert "workers" in (await backlog(gateway, 503))["standing_still"]
    assert value("gateway_standing_still", what="workers", reason="no_process_dispatches") == 1


async def test_the_last_sign_of_a_process_that_dispatches_is_seen_by_those_that_do_not(
    database_url: str, start_gateway: StartGateway
) -> None:
    async with running_gateway(database_url) as worker:
        await asyncio.sleep(40)
        assert (await backlog(worker, 200))["standing_still"] == {}
    ended_at = utc_now()
    gateway = await start_gateway(workers=False)
    await asyncio.sleep(25)
    # It has just started, and leaves the others their time.
    assert (await backlog(gateway, 200))["standing_still"] == {}
    await asyncio.sleep(25)
    since = datetime.fromisoformat((await backlog(gateway, 200))["standing_still"]["workers"]["since"])
    assert timedelta() <= ended_at - since < timedelta(seconds=3)
