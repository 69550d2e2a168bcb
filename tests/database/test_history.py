"""What happened in an interval of time, as the plots count it: exactly where all is read, else estimated."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
import sqlalchemy as sa

from app.operations import backlog_counts, history
from app.operations.history import Arrivals, Contacts
from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.past import Past

START: Final = datetime(2026, 5, 1, 12, tzinfo=UTC)
END: Final = START + timedelta(minutes=2)


def _some(conn: sa.Connection) -> None:
    past = Past()
    past.task(START - timedelta(seconds=1), "failed", final_s=3)
    past.task(START, "succeeded", 2.34, 10.06)
    past.task(START + timedelta(seconds=1), "part_failed", 183.4, 200)
    past.task(START + timedelta(seconds=2), "failed", final_s=700)
    past.task(START + timedelta(seconds=3), "expired", final_s=3600)
    past.task(START + timedelta(seconds=4), "main_succeeded", 5)
    past.task(START + timedelta(seconds=5), "running")
    past.task(START + timedelta(seconds=6), "queued")
    past.task(START + timedelta(seconds=7), "succeeded", 0, 0, submission="external")
    past.task(START + timedelta(seconds=8), "succeeded", 1, 2, client_name="studio")
    past.task(END, "failed", final_s=3)
    asked = past.task(START + timedelta(seconds=9), "canceled", final_s=1)
    for second in (-1, 0, 60, 120):
        past.callback(START + timedelta(seconds=second))
    past.query(asked, 1, START, ("running", "succeeded"))
    past.query(asked, 2, START + timedelta(seconds=1))
    past.query(asked, 3, START + timedelta(seconds=2), ("submitting", "running"))
    past.query(asked, 4, END, ("running", "succeeded"))
    past.write(conn)


async def test_tasks_are_counted_by_outcome_and_by_how_long_they_took(gateway: Running) -> None:
    db = gateway.gateway.context.db
    await db.write(_some)
    found = await db.read(history.arrivals, START, END, "bootstrap")
    assert found == Arrivals(
        outcomes=dict.fromkeys(
            ("succeeded", "part_failed", "failed", "expired", "main_succeeded", "running", "queued", "canceled"), 1
        ),
        # To a tenth of a second up to a minute, to a second up to ten minutes, then to ten seconds.
        playable_s={2.3: 1, 183: 1, 5: 1},
        final_s={10.1: 1, 200: 1, 700: 1},
    )
    assert (found.open, found.pending) == (3, 2)
    everybody = await db.read(history.arrivals, START, END)
    assert everybody.outcomes == found.outcomes | {"succeeded": 2}
    assert await db.read(history.arrivals, START, END, "nobody") == Arrivals()


async def test_callbacks_and_queries_are_counted_with_what_only_a_query_brought(gateway: Running) -> None:
    db = gateway.gateway.context.db
    await db.write(_some)
    assert await db.read(history.contacts, START, END) == Contacts(callbacks=2, queries=3, found=1)


async def test_of_very_many_the_first_stand_for_all(gateway: Running) -> None:
    def many(conn: sa.Connection) -> None:
        past = Past()
        for second in range(120):
            past.task(START + timedelta(seconds=second), "failed" if second % 4 else "succeeded", 1.0, 2.0)
            past.callback(START + timedelta(seconds=second))
        past.write(conn)

    db = gateway.gateway.context.db
    await db.write(many)
    tasks = await db.read(history.arrivals, START, END, None, 41)
    assert tasks.is_sample
    assert tasks.outcomes == {"succeeded": pytest.approx(33), "failed": pytest.approx(90)}
    received = await db.read(history.contacts, START, END, 41)
    assert received.is_sample
    assert received.callbacks == pytest.approx(123)
    assert await db.read(history.contacts, START, END, 121) == Contacts(callbacks=120)


async def test_dead_and_pending_notifications_are_counted_by_client(gateway: Running, db: Direct) -> None:
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    for key, count in ((None, 3), (made["api_key"], 2)):
        for _ in range(count):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            task = await gateway.api.post(
                "/v1/tasks",
                json={
                    "kind": "lyrics.generate",
                    "params": {"prompt": "rain"},
                    "webhook_url": "https://hooks.example/x",
                },
                headers=headers,
            )
            await gateway.api.post(f"/v1/tasks/{task.json()['id']}/cancel", headers=headers)
    context = gateway.gateway.context
    assert [await context.db.read(backlog_counts.own_outbox, name) for name in ("bootstrap", "studio")] == [3, 2]
    await db.execute("UPDATE notifications SET status = 'dead', due_at = NULL")
    assert [await context.db.read(backlog_counts.dead, name) for name in (None, "bootstrap", "studio", "x")] == [
        5,
        3,
        2,
        0,
    ]
    listed = await gateway.api.get("/v1/notifications", params={"status": "dead"})
    assert len(listed.json()["data"]) == 5
    listed = await gateway.api.get("/v1/notifications", params={"status": "pending"})
    assert listed.json()["data"] == []
