"""What goes after its time, and what must never go, however old it is."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from app.database.database import Lane
from app.operations.retention import COUNTED, LONGEST_REST_S, REST, Pace, Retainer, purge
from app.runtime import metrics
from tests.support.backends import PassedOn
from tests.support.direct_sql import Direct, ids
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import SONG, Running, eventually
from tests.support.notifications import client_of
from tests.support.retention import BY, DAY_S
from tests.support.song_callbacks import done, logged, song
from tests.support.start_fixtures import Retain, StartGateway

NOWHERE = "https://receiver.example/hook"
BIG = "la la " * 200


async def finished(gateway: Running, name: str, **more: Any) -> Any:
    """A task with one item of which everything is there."""
    task = await gateway.submit(**more)
    answer = await gateway.call_back("song", done(name, lyrics=BIG), UUID(task["id"]))
    assert answer.text == "success"
    assert (await gateway.task(task["id"]))["status"] == "succeeded"
    return task["id"]


async def canceled(gateway: Running, **more: Any) -> Any:
    task = await gateway.submit(**more)
    assert (await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")).status_code == 200
    return task["id"]


async def kept(db: Direct) -> set[Any]:
    """The ids of the tasks that are there."""
    return {str(UUID(str(row["id"]))) for row in await db.rows("SELECT id FROM tasks")}


async def counts(db: Direct) -> dict[str, Any]:
    names = ("tasks", "items", "item_values", "timeline", "callbacks", "notifications", "idempotency_keys")
    return {name: (await db.rows(f"SELECT count(*) AS n FROM {name}"))[0]["n"] for name in names}


async def test_an_ended_task_goes_with_all_that_is_its(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    await finished(gateway, "t2m_1")
    await canceled(gateway)
    await gateway.call_back("song", done("t2m_stranger"))
    await gateway.call_back("song", b"{", UUID((await gateway.submit())["id"]))
    before = await counts(db)
    assert before["item_values"] >= 1
    assert (before["tasks"], before["callbacks"]) == (4, 3)
    clock.skip(29 * DAY_S)
    await retain()
    assert await counts(db) == before
    clock.skip(2 * DAY_S)
    await retain()
    after = await counts(db)
    # The queued one stays, with its timeline and the inbound row of its own.
    assert after == dict.fromkeys(before, 0) | {"tasks": 1, "timeline": 2, "callbacks": 1}


async def test_nothing_grows_old_by_a_clock_that_is_set_forward(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    """Only for a silence that is told of: a process that starts with a wrong clock believes it."""
    timekeeper, storage = gateway.gateway.context.timekeeper, gateway.gateway.context.db
    await finished(gateway, "t2m_1")
    await timekeeper.beat(storage)
    before = await counts(db)
    clock.set(40 * DAY_S)
    await retain()
    assert await counts(db) == before, "nobody has told yet what the silence was"
    await timekeeper.beat(storage)
    clock.skip(3)
    await retain()
    assert await counts(db) == before
    clock.skip(31 * DAY_S)
    await timekeeper.beat(storage)
    await retain()
    assert (await counts(db))["tasks"] == 0, "these days have passed"


async def test_nothing_goes_where_everything_is_kept(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    await finished(gateway, "t2m_1")
    before = await counts(db)
    clock.skip(5000 * DAY_S)
    await retain(0)
    await retain(1e300)
    assert await counts(db) == before


async def test_open_tasks_and_what_repeats_of_their_callbacks_need_stay(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    running = (await gateway.submit())["id"]
    old = song("t2m_1", "running", title="Working title")
    await gateway.call_back("song", old, UUID(running))
    clock.skip(1)
    await gateway.call_back("song", song("t2m_1", "running", title="Harbour Lights"), UUID(running))
    clock.skip(40 * DAY_S)
    await retain()
    assert await kept(db) == {running}
    assert len(await logged(gateway)) == 2
    # Without the first copy's time this old one would look new.
    await gateway.call_back("song", old, UUID(running))
    assert (await gateway.task(running))["items"][0]["title"] == "Harbour Lights"


async def test_a_final_task_of_which_something_is_still_to_come_stays(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", song("t2m_1", "succeeded", audio_hi_url="https://cdn.example/a.wav"), UUID(task))
    assert (await gateway.task(task))["status"] == "succeeded"
    [row] = await db.rows("SELECT timer_due_at FROM tasks")
    assert row["timer_due_at"] is not None
    clock.skip(40 * DAY_S)
    await retain()
    assert await kept(db) == {task}


async def test_a_task_that_changed_lately_stays(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    task = await finished(gateway, "t2m_1")
    clock.skip(20 * DAY_S)
    late = done("t2m_1", title="A new title")
    await gateway.call_back("song", late, UUID(task))
    clock.skip(20 * DAY_S)
    await retain()
    assert await kept(db) == {task}
    assert len(await logged(gateway)) == 2
    clock.skip(20 * DAY_S)
    await retain()
    assert await kept(db) == set()


async def test_a_pending_notification_stays_and_keeps_its_task(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    studio = await client_of(gateway)
    [told, waiting] = [(await studio.canceled(NOWHERE))["id"] for _ in range(2)]
    at = clock.now().replace(tzinfo=None).isoformat(" ")
    await db.execute(
        f"UPDATE notifications SET status = 'delivered', due_at = NULL, ended_at = '{at}' "
        f"WHERE task_id IN ({ids([told])})"
    )
    clock.skip(40 * DAY_S)
    await retain()
    assert await kept(db) == {waiting}
    assert [one["task_id"] for one in await studio.notifications()] == [waiting]


async def test_a_notification_that_was_sent_again_lately_stays(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    studio = await client_of(gateway)
    await studio.canceled(NOWHERE)
    clock.skip(40 * DAY_S)
    at = clock.now().replace(tzinfo=None).isoformat(" ")
    await db.execute(f"UPDATE notifications SET status = 'dead', due_at = NULL, ended_at = '{at}'")
    await retain()
    # With its task, of which it would be rendered.
    left = await counts(db)
    assert (left["notifications"], left["tasks"]) == (1, 1)
    clock.skip(40 * DAY_S)
    await retain()
    left = await counts(db)
    assert (left["notifications"], left["tasks"]) == (0, 0)


async def test_an_idempotency_key_and_its_tasks_are_kept_for_a_day(
    gateway: Running, db: Direct, clock: ScaledClock
) -> None:
    context = gateway.gateway.context
    body = {"kind": "song.generate", "params": SONG}

    async def ask() -> Any:
        answer = await gateway.api.post("/v1/tasks", json=body, headers={"Idempotency-Key": "order-17"})
        assert answer.status_code in (200, 202), answer.text
        return answer.json()["id"]

    task = await ask()
    await gateway.api.post(f"/v1/tasks/{task}/cancel")
    clock.skip(0.9 * DAY_S)
    await purge(context.db, clock, BY, 0, dry_run=False)
    assert await ask() == task
    clock.skip(0.2 * DAY_S)
    await purge(context.db, clock, BY, 0, dry_run=False)
    assert await kept(db) == set()
    assert await ask() != task


async def test_a_callback_for_a_purged_task_is_an_orphan(
    gateway: Running, db: Direct, clock: ScaledClock, retain: Retain
) -> None:
    task = await finished(gateway, "t2m_1")
    clock.skip(40 * DAY_S)
    await retain()
    assert await kept(db) == set()
    for _ in range(2):
        answer = await gateway.call_back("song", done("t2m_1"), UUID(task))
        assert (answer.status_code, answer.text) == (200, "success")
    assert [(one["disposition"], one["count"]) for one in await logged(gateway)] == [("orphan", 2)]
    assert await kept(db) == set()


async def test_a_dry_run_counts_what_goes_and_deletes_nothing(gateway: Running, db: Direct, clock: ScaledClock) -> None:
    context = gateway.gateway.context
    for n in range(COUNTED + 1):
        await finished(gateway, f"t2m_{n}")
    open_one = (await gateway.submit())["id"]
    await gateway.call_back("song", song("t2m_open"), UUID(open_one))
    clock.skip(10 * DAY_S)
    before = await counts(db)
    expected = {"idempotency_keys": 0, "notifications": 0, "callbacks": COUNTED + 1, "tasks": COUNTED + 1}
    assert await purge(context.db, clock, BY, 9, dry_run=True, rows=1) == expected
    assert await counts(db) == before
    assert await purge(context.db, clock, BY, 11, dry_run=False) == dict.fromkeys(expected, 0)
    assert await purge(context.db, clock, BY, 9, dry_run=False) == expected
    assert await kept(db) == {open_one}


async def test_a_dry_run_counts_tasks_whose_notifications_and_keys_go_before_them(
    gateway: Running, db: Direct, clock: ScaledClock
) -> None:
    context, studio = gateway.gateway.context, await client_of(gateway)
    for status in ("delivered", "pending"):
        task = await studio.canceled(NOWHERE)
        at = clock.now().replace(tzinfo=None).isoformat(" ")
        if status == "delivered":
            ended = f"UPDATE notifications SET status = 'delivered', due_at = NULL, ended_at = '{at}'"
            await db.execute(f"{ended} WHERE task_id IN ({ids([task['id']])})")
    body = {"kind": "song.generate", "params": SONG}
    made = await gateway.api.post("/v1/tasks", json=body, headers={"Idempotency-Key": "order-17"})
    await gateway.api.post(f"/v1/tasks/{made.json()['id']}/cancel")
    clock.skip(40 * DAY_S)
    expected = {"idempotency_keys": 1, "notifications": 1, "callbacks": 0, "tasks": 2}
    assert await purge(context.db, clock, BY, 30, dry_run=True) == expected
    assert await purge(context.db, clock, BY, 30, dry_run=False) == expected


async def test_rows_that_stay_are_passed_over_once(gateway: Running, db: Direct, clock: ScaledClock) -> None:
    """Old rows that must stay do not hide those behind them."""
    context = gateway.gateway.context
    staying = [(await gateway.submit())["id"] for _ in range(7)]
    for n, task in enumerate(staying):
        await gateway.call_back("song", song(f"t2m_{n}"), UUID(task))
    await finished(gateway, "t2m_last")
    clock.skip(40 * DAY_S)
    gone = await purge(context.db, clock, BY, 30, dry_run=False, rows=3)
    assert (gone["callbacks"], gone["tasks"]) == (1, 1)
    assert await kept(db) == set(staying)


async def test_a_long_timeline_goes_in_parts(gateway: Running, db: Direct, clock: ScaledClock) -> None:
    """One transaction deletes some hundred rows at most, also where they are all of one task."""
    context = gateway.gateway.context
    task = await finished(gateway, "t2m_1")
    short = [await canceled(gateway) for _ in range(3)]
    await db.execute(
        "WITH RECURSIVE more AS (SELECT 1001 AS seq UNION ALL SELECT seq + 1 FROM more WHERE seq < 1350) "
        "INSERT INTO timeline SELECT task_id, more.seq, at, type, version, detail FROM timeline, more "
        f"WHERE task_id IN ({ids([task])}) AND timeline.seq = 1",
        f"UPDATE tasks SET timeline_seq = 1350 WHERE id IN ({ids([task])})",
    )
    clock.skip(40 * DAY_S)
    left = [(await counts(db))["timeline"]]

    class Counting(PassedOn):
        async def run(self, lane: Lane, fn: Callable[..., Any], *, write: bool, whole: bool = True) -> Any:
            result = await super().run(lane, fn, write=write, whole=whole)
            left.append((await counts(db))["timeline"])
            return result

    backend = Counting(db.url)
    retainer = Retainer(replace(context, db=backend.database()), 30)
    while await retainer.step() is not None:
        pass
    await backend.close()
    assert left[-1] == 0
    assert max(before - after for before, after in itertools.pairwise(left)) <= 110
    assert await kept(db) == set()
    assert len(short) == 3


async def test_the_loop_runs_in_a_worker_and_counts(
    start_gateway: StartGateway, clock: ScaledClock, db: Direct
) -> None:
    gateway = await start_gateway(workers=False, clock=clock)
    await finished(gateway, "t2m_1")
    clock.skip(40 * DAY_S)
    before = metrics.purged_rows.labels("tasks")._value.get()
    if gateway.gateway.file_lock is not None:
        # A second process on one file would be refused.
        gateway.gateway.file_lock.release()
    await start_gateway(workers=True, clock=clock)

    async def counted() -> Any:
        return metrics.purged_rows.labels("tasks")._value.get() == before + 1

    await eventually(counted)
    assert await kept(db) == set()


def test_a_slow_transaction_makes_the_next_ones_smaller() -> None:
    pace = Pace()
    sizes = []
    for took_s in (0.001, 0.05, 0.05, 0.05, 0.05, 0.05, 0.001, 0.001):
        pace.note(took_s)
        sizes.append(pace.rows)
    assert sizes == [100, 50, 25, 12, 10, 10, 20, 40]


def test_a_transaction_that_waited_for_a_lock_does_not_make_the_loop_rest_for_long() -> None:
    pace = Pace()
    assert pace.note(0.1) == 0.1 * REST
    assert pace.note(20.0) == LONGEST_REST_S
