"""After a restore the queue is not trusted: what may have been sent already is not sent again.

The restored database is made as it comes about: a task waits, the database is copied, the task is sent, and the copy
is served in the database's stead.
"""

import asyncio
import json
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.support.commands import call, environment
from tests.support.direct_sql import Direct
from tests.support.gateway import Running, running_gateway
from tests.support.song_callbacks import assert_problem, song
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import utc_now
from tests.support.watching import submit_many


def sent(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "submit"]


async def moment() -> datetime:
    """A moment after all that was and before all that will be."""
    await asyncio.sleep(0.01)
    at = utc_now()
    await asyncio.sleep(0.01)
    return at


async def recover(gateway: Running, since: datetime, **more: Any) -> Any:
    answer = await gateway.api.post("/v1/submissions/recover", json={"sent_since": since.isoformat(), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def statuses(gateway: Running) -> list[Any]:
    return [one["status"] for one in (await gateway.api.get("/v1/tasks?limit=200")).json()["data"]]


@pytest.fixture
def backup(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Takes a backup of the test's database, to which nobody may be connected; gives a URL at which it is served."""

    def take() -> Any:
        if database_url.startswith("sqlite"):
            source = database_url.partition(":///")[2]
            with closing(sqlite3.connect(source)) as conn:
                conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return f"sqlite+aiosqlite:///{shutil.copy(source, tmp_path / 'restored.db')}"
        server = request.getfixturevalue("postgres")
        name = f"restored_{uuid.uuid4().hex}"
        request.addfinalizer(lambda: server.drop_database(name))
        return server.create_database(name, template=database_url.rpartition("/")[2].partition("?")[0])

    return take


@pytest.mark.own_database
# The commands go by the machine's clock, and the moment is held against it.
@pytest.mark.real_time
async def test_what_was_sent_after_the_backup_is_not_sent_again(
    database_url: str, backup: Callable[..., Any], start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=60, callbacks={"drop": 1})
    vendor: dict[str, Any] = {"tempolor_base_url": sandbox.base_url}
    async with running_gateway(database_url, workers=False) as before:
        task = await before.submit()
    restored, backed_up_at = backup(), await moment()
    async with running_gateway(database_url, **vendor) as before:
        await before.until(task["id"], "running")
    # The database is lost; what was restored shows the task as queued. By command, before anything is started.
    env = environment(restored)
    assert (await call("submissions", "hold", env=env)).code == 0
    done = await call("recover", "--sent-since", backed_up_at.isoformat(), env=env)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["tasks"], found["held_by_hand"]) == (1, True)
    assert (await call("submissions", "release", env=env)).code == 0
    async with running_gateway(restored, **vendor) as after:
        fresh = await after.submit()
        await after.until(fresh["id"], "running")
        assert (await after.task(task["id"]))["status"] == "unconfirmed"
        assert len(sent(sandbox)) == 2, "the old one once, the new one once"
        # Its callbacks go to the token that it was sent with, and settle it.
        answer = await after.call_back("song", song("t2m_late", "running"), uuid.UUID(task["id"]))
        assert answer.text == "success"
        assert (await after.task(task["id"]))["status"] == "running"
        [entry] = [one for one in await after.timeline(task["id"]) if one["type"] == "recovered"]
        assert datetime.fromisoformat(entry["detail"]["sent_since"]) == backed_up_at


@pytest.mark.own_database
async def test_without_it_the_task_is_sent_twice(
    database_url: str, backup: Callable[..., Any], start_sandbox: StartSandbox
) -> None:
    """The fault itself: what the test above guards against."""
    sandbox = await start_sandbox(scale=60, callbacks={"drop": 1})
    vendor: dict[str, Any] = {"tempolor_base_url": sandbox.base_url}
    async with running_gateway(database_url, workers=False) as before:
        task = await before.submit()
    restored = backup()
    for url in (database_url, restored):
        async with running_gateway(url, **vendor) as gateway:
            await gateway.until(task["id"], "running")
    assert len(sent(sandbox)) == 2


async def test_which_tasks_it_means(start_gateway: StartGateway, database_url: str) -> None:
    gateway = await start_gateway(workers=False)
    db = Direct(database_url)
    queued, submitting, named, canceled, failed = [(await gateway.submit())["id"] for _ in range(5)]
    await gateway.call_back("song", song("t2m_named"), uuid.UUID(named))
    await gateway.api.post(f"/v1/tasks/{canceled}/cancel")
    await _set(db, submitting, "submission = 'sending', status = 'submitting', dispatch_due_at = NULL")
    # It has waited for hours: a deadline from then would be over at its first callback.
    await _set(db, queued, f"created_at = '{utc_now() - timedelta(hours=3):%Y-%m-%d %H:%M:%S.%f}'")
    await _set(db, failed, "submission = 'refused', status = 'failed', dispatch_due_at = NULL")
    since = await moment()
    # Accepted after the moment to which the database is complete: in the history that was lost it may be older.
    young = (await gateway.submit())["id"]
    counted = await recover(gateway, since, dry_run=True)
    assert (counted["tasks"], counted["dry_run"], counted["held_by_hand"]) == (3, True, False)
    assert (await statuses(gateway)).count("unconfirmed") == 0
    assert (await recover(gateway, since))["tasks"] == 3
    for task_id in (queued, submitting, young):
        task = await gateway.task(task_id)
        assert (task["status"], task["items"]) == ("unconfirmed", [])
        # As if sent now.
        assert datetime.fromisoformat(task["deadline_at"]) > utc_now() + timedelta(minutes=50)
    assert (await gateway.task(named))["status"] == "running"
    assert (await gateway.task(canceled))["status"] == "canceled"
    assert (await gateway.task(failed))["status"] == "failed"


async def _set(db: Direct, task_id: str, assignments: str) -> None:
    literal = task_id.replace("-", "") if db.is_sqlite else task_id
    await db.execute(f"UPDATE tasks SET {assignments} WHERE id = '{literal}'")


async def test_the_same_again_leaves_alone_what_came_since(gateway: Running) -> None:
    old, settled = (await gateway.submit())["id"], (await gateway.submit())["id"]
    since = await moment()
    first = await recover(gateway, since)
    assert first["tasks"] == 2
    new = (await gateway.submit())["id"]
    await gateway.api.post(f"/v1/tasks/{settled}/resolve", json={"not_sent": True})
    again = await recover(gateway, since)
    assert (again["tasks"], again["accepted_before"]) == (0, first["accepted_before"])
    assert [(await gateway.task(one))["status"] for one in (old, settled, new)] == ["unconfirmed", "queued", "queued"]
    # Another loss later is another recovery, and means them all.
    assert (await recover(gateway, await moment()))["tasks"] == 2


async def test_the_moment_of_the_recovery_can_be_given(gateway: Running) -> None:
    old = (await gateway.submit())["id"]
    resumed_at = await moment()
    new = (await gateway.submit())["id"]
    found = await recover(gateway, resumed_at - timedelta(hours=1), accepted_before=resumed_at.isoformat())
    assert found["tasks"] == 1
    assert [(await gateway.task(one))["status"] for one in (old, new)] == ["unconfirmed", "queued"]


async def test_more_than_a_batch_is_recovered_and_each_batch_recorded(gateway: Running) -> None:
    await submit_many(gateway, 210)
    since = await moment()
    assert (await recover(gateway, since))["tasks"] == 210
    acts = (await gateway.api.get("/v1/audit")).json()["data"]
    recovered = [one["detail"]["tasks"] for one in acts if one["action"] == "submissions.recover"]
    # All in one moment of virtual time, in which nothing comes before anything.
    assert sorted(recovered) == [10, 100, 100]
    assert set(await statuses(gateway)) == {"unconfirmed"}


async def test_impossible_moments_are_refused(gateway: Running) -> None:
    task_id = (await gateway.submit())["id"]
    hour = timedelta(hours=1)
    for body in (
        {},
        {"sent_since": "yesterday"},
        {"sent_since": "2026-01-31T00:00:00"},
        {"sent_since": (utc_now() + hour).isoformat()},
        {"sent_since": utc_now().isoformat(), "accepted_before": (utc_now() - hour).isoformat()},
        {"sent_since": utc_now().isoformat(), "accepted_before": (utc_now() + hour).isoformat()},
        {"sent_since": utc_now().isoformat(), "dry_run": "yes"},
        {"sent_since": "0001-01-01T00:00:00+14:00"},
        {"sent_since": 0},
        {"sent_since": "0"},
        {"sent_since": utc_now().isoformat(), "accepted_before": 1_770_000_000},
    ):
        assert_problem(await gateway.api.post("/v1/submissions/recover", json=body), 422)
    assert (await gateway.task(task_id))["status"] == "queued"
