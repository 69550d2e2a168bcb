"""Optimistic locking: a group of callbacks is loaded without locks and saved in one statement, and nothing is written
over what others do between. SQLite has one writer: nobody comes between.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.callbacks.batch import Writer
from app.callbacks.commit import Acknowledgement, Callback, commit, digest_of
from app.errors import Unavailable
from app.rules.observation import Disposition
from app.tempolor import item_readings
from app.tempolor.kinds import FAMILIES
from tests.support.databases import SECOND_ITEM, on_postgresql, waits_for_a_lock
from tests.support.direct_sql import Direct
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.not_none import present
from tests.support.postgres import PostgresServer

pytestmark = on_postgresql

FIRST = b'{"songs": [{"item_id": "t2m_first", "status": "running"}]}'
THEN = b'{"songs": [{"item_id": "t2m_first", "status": "main_succeeded"}]}'
TOUCH = "UPDATE tasks SET timeline_seq = timeline_seq"
LEASE = "UPDATE items SET query_leased_until = '2100-01-01'"


@pytest.fixture
async def task_id(gateway: Running) -> UUID:
    """A task with one item, of which one callback came."""
    made = UUID((await gateway.submit())["id"])
    assert (await gateway.call_back("song", FIRST, made)).text == "success"
    return made


@pytest.fixture
def between(database_url: str) -> Callable[..., Awaitable[Any]]:
    """Have something happen after a group was read and before it is written. Its statement that writes waits for a
    ``table``, which ``happen`` must not change, and sees what there is by then."""

    async def arrange(committing: Any, happen: Any, table: str = "callbacks") -> Any:
        conn = await asyncpg.connect(database_url)
        try:
            async with conn.transaction():
                await conn.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
                under_way = asyncio.ensure_future(committing)
                await eventually(partial(waits_for_a_lock, database_url))
                await happen()
            return await under_way
        finally:
            await conn.close()

    return arrange


def received(gateway: Running, task_id: UUID | None, body: bytes) -> Callback:
    """One callback, read."""
    context = gateway.gateway.context
    readings = tuple(item_readings.read_callback(body, FAMILIES["song"]).readings)
    digest, now = digest_of(task_id, "song", body), context.clock.now()
    return Callback(context.ids(), digest, task_id, "song", body, now, None, readings)


async def committed(gateway: Running, task_id: UUID | None, body: bytes = THEN) -> Acknowledgement | None:
    """Commit one callback, without a transaction. None where that did not do."""
    context = gateway.gateway.context
    one = received(gateway, task_id, body)
    found = await context.db.attempt(commit, [one], context.rules, in_one_statement=True)
    return found[0][0] if found is not None else None


@pytest.mark.own_database
async def test_it_takes_two_turns_and_no_transaction(database_url: str, postgres: PostgresServer, db: Direct) -> None:
    name = database_url.rpartition("/")[2]
    await db.execute(f"ALTER DATABASE \"{name}\" SET log_statement = 'all'")
    async with running_gateway(database_url, workers=False) as gateway:
        task_id = UUID((await gateway.submit())["id"])
        assert (await gateway.call_back("song", FIRST, task_id)).text == "success"
        before = len(postgres.log_path.read_text())
        assert (await gateway.call_back("song", THEN, task_id)).text == "success"
        logged = postgres.log_path.read_text()[before:]
    said = re.findall(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (\S+ \S+)", logged)
    callbacks_lane = next(pid for pid, words in said if words == "WITH named")
    assert [words for pid, words in said if pid == callbacks_lane] == ["WITH named", "WITH held_tasks"]


async def test_what_nobody_disturbs_is_written(gateway: Running, db: Direct, task_id: UUID) -> None:
    answer = present(await committed(gateway, task_id))
    assert answer.usable
    assert not answer.repeated
    assert (await gateway.task(str(task_id)))["status"] == "main_succeeded"
    assert [row["count"] for row in await db.rows("SELECT count FROM callbacks ORDER BY received_at")] == [1, 1]


@pytest.mark.parametrize(
    "sql",
    [TOUCH, LEASE, f"{SECOND_ITEM}; {TOUCH}", "DELETE FROM tasks"],
    ids=["the task", "an item", "a new item", "the task is gone"],
)
async def test_what_another_changed_between_is_not_written_over(
    gateway: Running, db: Direct, task_id: UUID, between: Callable[..., Awaitable[Any]], sql: str
) -> None:
    after = {}

    async def happen() -> None:
        await db.execute(*sql.split("; "))
        after.update(await db.everything())

    assert await between(committed(gateway, task_id), happen) is None
    assert after
    assert await db.everything() == after


@pytest.mark.parametrize("sql", ["SELECT 1 FROM tasks FOR NO KEY UPDATE", LEASE], ids=["the task", "an item"])
async def test_what_another_holds_is_not_waited_for(
    gateway: Running, db: Direct, task_id: UUID, between: Callable[..., Awaitable[Any]], database_url: str, sql: str
) -> None:
    before = await db.everything()
    holder = await asyncpg.connect(database_url)
    held = holder.transaction()
    await held.start()
    # It would wait for five seconds, and be `Unavailable` then.
    assert await between(committed(gateway, task_id), partial(holder.execute, sql)) is None
    await held.rollback()
    await holder.close()
    assert await db.everything() == before


async def test_one_busy_task_does_not_make_the_work_of_its_neighbours_void(
    gateway: Running, db: Direct, task_id: UUID, between: Callable[..., Awaitable[Any]]
) -> None:
    """Of a group each part that has no task in common with the others is saved or left out by itself."""
    context = gateway.gateway.context
    other = UUID((await gateway.submit())["id"])
    group = [
        received(gateway, task_id, THEN),
        received(gateway, other, THEN.replace(b"t2m_first", b"t2m_other")),
        received(gateway, None, THEN.replace(b"t2m_first", b"t2m_new")),
    ]
    committing = context.db.attempt(commit, group, context.rules, in_one_statement=True)
    answers, effects = await between(committing, partial(db.execute, f"{TOUCH} WHERE id = '{task_id}'"))
    assert [answer is not None for answer in answers] == [False, True, True]
    assert {task.id for task in (change.task for change in effects.status_changes)} >= {other}
    assert task_id not in effects.changed
    rows = await db.rows("SELECT item_id, status FROM items ORDER BY item_id")
    assert [(row["item_id"], row["status"]) for row in rows] == [
        ("t2m_first", "running"),
        ("t2m_new", "main_succeeded"),
        ("t2m_other", "main_succeeded"),
    ]
    assert len(await db.rows("SELECT * FROM callbacks")) == 3


@pytest.mark.own_database
async def test_what_is_durable_is_not_stored_again_when_its_neighbour_fails(
    gateway: Running, db: Direct, task_id: UUID, between: Callable[..., Awaitable[Any]]
) -> None:
    """The neighbour is left out at first, since somebody else is at its task, and is a poison then."""
    other = UUID((await gateway.submit())["id"])
    await db.refuse_items("NEW.item_id = 't2m_other'")
    writer = Writer(gateway.gateway.context, asyncio.Lock())
    fine = writer.put(received(gateway, task_id, THEN))
    poison = writer.put(received(gateway, other, THEN.replace(b"t2m_first", b"t2m_other")))
    await between(writer.step(), partial(db.execute, f"{TOUCH} WHERE id = '{other}'"))
    assert (await fine).disposition is Disposition.APPLIED
    assert (await poison).disposition is Disposition.POISONED
    rows = await db.rows("SELECT disposition, count FROM callbacks ORDER BY received_at")
    assert [(row["disposition"], row["count"]) for row in rows] == [("applied", 1), ("applied", 1), ("poisoned", 1)]


async def test_what_cannot_be_saved_and_is_no_race_fails_alone(gateway: Running, db: Direct, task_id: UUID) -> None:
    """Rows that contradict each other, as after a repair by hand."""
    other = UUID((await gateway.submit())["id"])
    await db.execute(
        "INSERT INTO timeline SELECT task_id, seq + 1, at, type, version, detail FROM timeline"
        f" WHERE task_id = '{other}'"
    )
    writer = Writer(gateway.gateway.context, asyncio.Lock())
    fine = writer.put(received(gateway, task_id, THEN))
    broken = writer.put(received(gateway, other, THEN.replace(b"t2m_first", b"t2m_other")))
    await writer.step()
    assert (await fine).disposition is Disposition.APPLIED
    assert (await broken).disposition is Disposition.POISONED


@pytest.mark.own_database
async def test_a_poison_that_cannot_be_kept_now_fails_alone(gateway: Running, db: Direct, task_id: UUID) -> None:
    """It is answered 503, since nothing of it is stored; its neighbour in the other half of the group is applied."""
    other = UUID((await gateway.submit())["id"])
    await db.refuse_items("NEW.item_id = 't2m_other'")
    await db.execute(
        "CREATE FUNCTION out_of_room() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END$$",
        "CREATE TRIGGER out_of_room BEFORE INSERT ON callbacks FOR EACH ROW"
        " WHEN (NEW.disposition = 'poisoned') EXECUTE FUNCTION out_of_room()",
    )
    writer = Writer(gateway.gateway.context, asyncio.Lock())
    poison = writer.put(received(gateway, other, THEN.replace(b"t2m_first", b"t2m_other")))
    fine = writer.put(received(gateway, task_id, THEN))
    await writer.step()
    with pytest.raises(Unavailable):
        await poison
    assert (await fine).disposition is Disposition.APPLIED


async def test_rows_are_inserted_in_the_order_of_their_keys(gateway: Running, db: Direct) -> None:
    """Or two processes that insert the same would wait for each other."""
    context = gateway.gateway.context
    names = [b"t2m_%02d" % (n * 7 % 24) for n in range(24)]
    group = [received(gateway, None, FIRST.replace(b"t2m_first", name)) for name in names]
    answers, _ = present(await context.db.attempt(commit, group, context.rules, in_one_statement=True))
    assert None not in answers
    for table, key in (("callbacks", "digest"), ("items", "item_id")):
        keys = [row[key] for row in await db.rows(f"SELECT {key} FROM {table} ORDER BY ctid")]
        assert len(keys) == len(names)
        assert keys == sorted(keys), table


async def test_two_processes_at_one_task_lose_nothing(gateway: Running, db: Direct, database_url: str) -> None:
    task_id = UUID((await gateway.submit())["id"])
    async with running_gateway(database_url, workers=False) as other:
        family = f"/callbacks/song/{gateway.gateway.context.tokens.sign('song', task_id)}"
        bodies = [
            f'{{"songs": [{{"item_id": "t2m_{n % 7}", "status": "running", "prompt": "{n}"}}]}}' for n in range(60)
        ]
        answers = await asyncio.gather(
            *(one.api.post(family, content=body) for n, body in enumerate(bodies) for one in ((gateway, other)[n % 2],))
        )
    assert {answer.text for answer in answers} == {"success"}
    told = await db.rows("SELECT seq, detail FROM timeline WHERE type = 'callback' ORDER BY seq")
    assert len(told) == len(bodies)
    [task] = await db.rows("SELECT stored_bodies, timeline_seq FROM tasks")
    assert task["stored_bodies"] == len(bodies)
    assert task["timeline_seq"] == max(row["seq"] for row in told)
    assert len(await db.rows("SELECT * FROM items")) == 7


async def test_a_lease_that_another_takes_between_is_kept_and_the_callback_too(
    gateway: Running, db: Direct, task_id: UUID, between: Callable[..., Awaitable[Any]]
) -> None:
    answer = await between(gateway.call_back("song", THEN, task_id), partial(db.execute, LEASE))
    assert answer.text == "success"
    [item] = await db.rows("SELECT query_leased_until FROM items")
    assert item["query_leased_until"].year == 2100
    assert (await gateway.task(str(task_id)))["status"] == "main_succeeded"


async def test_a_callback_that_another_stores_between_is_counted_and_not_stored_again(
    gateway: Running, db: Direct, between: Callable[..., Awaitable[Any]]
) -> None:
    digest = digest_of(None, "song", FIRST).hex()
    stored = (
        "INSERT INTO callbacks (id, digest, family, disposition, body, received_at, last_received_at, count)"
        f" VALUES (gen_random_uuid(), '\\x{digest}', 'song', 'malformed', '', now(), now(), 1)"
    )
    assert await between(committed(gateway, None, FIRST), partial(db.execute, stored), "timeline") is not None
    # What the other made of it stands.
    assert await db.rows("SELECT count, disposition FROM callbacks") == [{"count": 2, "disposition": "malformed"}]


async def test_a_callback_that_another_deletes_between_is_stored_again(
    gateway: Running, db: Direct, task_id: UUID, between: Callable[..., Awaitable[Any]]
) -> None:
    gone = partial(db.execute, "DELETE FROM callbacks")
    assert await between(committed(gateway, task_id, FIRST), gone, "timeline") is not None
    assert [row["count"] for row in await db.rows("SELECT count FROM callbacks")] == [1]


async def test_what_another_makes_of_a_callback_between_stands(
    gateway: Running, db: Direct, task_id: UUID, between: Callable[..., Awaitable[Any]]
) -> None:
    replayed = partial(db.execute, "UPDATE callbacks SET disposition = 'poisoned', detail = 'why'")
    assert await between(committed(gateway, task_id, FIRST), replayed, "timeline") is not None
    found = await db.rows("SELECT count, disposition, detail FROM callbacks")
    assert found == [{"count": 2, "disposition": "poisoned", "detail": "why"}]


async def test_an_item_that_another_names_between_is_not_named_twice(
    gateway: Running, db: Direct, between: Callable[..., Awaitable[Any]]
) -> None:
    named = (
        "INSERT INTO items SELECT family, 't2m_first', task_id, named_by, 1, status, state, created_at, follow_ups,"
        " NULL, NULL, NULL, NULL, query_attempts, query_group FROM items WHERE item_id = 't2m_other'"
    )
    assert (await gateway.call_back("song", FIRST.replace(b"t2m_first", b"t2m_other"))).text == "success"
    assert await between(committed(gateway, None, THEN), partial(db.execute, named)) is None
    [item] = await db.rows("SELECT status FROM items WHERE item_id = 't2m_first'")
    assert item["status"] == "running"
    assert (await gateway.call_back("song", THEN)).text == "success"
    [item] = await db.rows("SELECT status FROM items WHERE item_id = 't2m_first'")
    assert item["status"] == "main_succeeded"


async def test_who_loses_the_race_for_a_new_item_is_done_again(
    gateway: Running, db: Direct, task_id: UUID, between: Callable[..., Awaitable[Any]]
) -> None:
    """In a transaction, which is run again then: the loser finds whose the item is."""
    context = gateway.gateway.context
    other = received(gateway, UUID((await gateway.submit())["id"]), THEN.replace(b"t2m_first", b"t2m_second"))
    answers, _ = await between(
        context.db.write(commit, [other], context.rules), partial(db.execute, SECOND_ITEM), "timeline"
    )
    assert answers[0].disposition is Disposition.MISMATCHED
    rows = await db.rows("SELECT task_id, status FROM items WHERE item_id = 't2m_second'")
    assert rows == [{"task_id": task_id, "status": "running"}]


async def test_a_task_that_loses_its_only_item_is_removed_all_the_same(gateway: Running, db: Direct) -> None:
    """More than one statement: it is done in a transaction."""
    assert (await gateway.call_back("song", FIRST)).text == "success"
    task_id = UUID((await gateway.submit())["id"])
    assert await committed(gateway, task_id, THEN) is None
    assert (await gateway.call_back("song", THEN, task_id)).text == "success"
    assert [row["id"] for row in await db.rows("SELECT id FROM tasks")] == [task_id]
