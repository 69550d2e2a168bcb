"""Whoever has a callback URL, of a task or of nobody, cannot fill the disk with it.

A limit is approached by rows as a flood would have left them, and passed by callbacks.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app.callbacks.commit import BODY_UNIT, MOST_BODIES, Callback, row_of
from app.rules.join import MOST_OTHER_FIELDS
from app.rules.observation import Disposition
from app.tasks import state_store, writes
from app.tasks.timeline import MOST_ENTRIES
from tests.support.direct_sql import Direct, ids
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.song_callbacks import logged, song

LEFT = 4
"""Bodies that are still kept when a test begins to send."""


async def _send(
    gateway: Running, bodies: Sequence[dict[str, Any] | bytes], task_id: UUID | None = None, *, status: int = 200
) -> None:
    for body in bodies:
        assert (await gateway.call_back("song", body, task_id)).status_code == status


async def _fill_log(gateway: Running, count: int, task_id: UUID | None = None) -> None:
    """Rows of the log that no task is charged with."""
    context = gateway.gateway.context
    rows = [
        Callback(context.ids(), os.urandom(32), task_id, "song", b"{", context.clock.now(), None, ())
        for _ in range(count)
    ]
    part = state_store.Part({writes.CALLBACKS: [row_of(row, Disposition.MALFORMED) for row in rows]})
    await context.db.write(state_store.save, [part])


async def _count(db: Direct, table: str) -> int:
    [row] = await db.rows(f"SELECT count(*) AS n FROM {table}")
    return row["n"]


async def test_only_so_many_bodies_of_one_task_are_kept_and_the_rest_is_still_applied(
    gateway: Running, db: Direct
) -> None:
    mine, other = [UUID((await gateway.submit())["id"]) for _ in range(2)]
    await _send(gateway, [song(title="The first")], mine)
    await _send(gateway, [song("t2m_other")], other)
    charged = {row["stored_bodies"] for row in await db.rows("SELECT stored_bodies FROM tasks")}
    assert charged == {1}, "each body is counted"
    await db.execute(f"UPDATE tasks SET stored_bodies = {MOST_BODIES - LEFT} WHERE id IN ({ids([str(mine)])})")
    await _send(gateway, [song(title=f"Title {n}") for n in range(2 * LEFT)], mine)
    assert len(await logged(gateway, str(mine))) == 1 + LEFT
    task = await gateway.task(str(mine))
    assert (task["status"], task["items"][0]["title"]) == ("running", f"Title {2 * LEFT - 1}")
    # Another task's allowance is its own.
    await _send(gateway, [song("t2m_other", title="kept")], other)
    assert len(await logged(gateway, str(other))) == 2
    # Callbacks that come at once are judged together: they may go over by their own number, and no further.
    await db.execute(f"UPDATE tasks SET stored_bodies = {MOST_BODIES - LEFT} WHERE id IN ({ids([str(other)])})")
    for turn in range(2):
        flood = [song("t2m_other", title=f"Title {turn}.{n}") for n in range(20)]
        await asyncio.gather(*(gateway.call_back("song", body, other) for body in flood))
    assert 2 + LEFT <= len(await logged(gateway, str(other))) <= 2 + LEFT + 20


async def test_an_unbound_token_fills_the_log_no_further_with_what_is_another_tasks(
    gateway: Running, db: Direct
) -> None:
    """Nothing of it is applied, and it is that task's account all the same."""
    task_id = UUID((await gateway.submit())["id"])
    await _send(gateway, [song(title="The first")], task_id)
    await db.execute(f"UPDATE tasks SET stored_bodies = {MOST_BODIES - LEFT}")
    version = (await gateway.task(str(task_id)))["version"]
    await _send(gateway, [song(title=f"Title {n}") for n in range(2 * LEFT)], status=403)
    assert await _count(db, "callbacks") == 1 + LEFT
    task = await gateway.task(str(task_id))
    assert (task["version"], task["items"][0]["title"]) == (version, "The first")


async def test_the_token_of_a_purged_task_fills_the_log_no_further(gateway: Running, db: Direct) -> None:
    purged = UUID((await gateway.submit())["id"])
    await db.execute("DELETE FROM tasks")
    await _fill_log(gateway, MOST_BODIES - LEFT, purged)
    await _send(gateway, [song(title=f"Title {n}") for n in range(2 * LEFT)], purged)
    assert await _count(db, "callbacks") == MOST_BODIES
    # Malformed ones are of the same account, and answered as ever.
    await _send(gateway, [f"no JSON {n}".encode() for n in range(LEFT)], purged, status=200)
    assert await _count(db, "callbacks") == MOST_BODIES
    # A repeat of one that was kept is counted.
    repeat = await gateway.call_back("song", song(title="Title 0"), purged)
    assert (repeat.status_code, repeat.text) == (200, "success")
    [first] = await db.rows("SELECT max(count) AS most FROM callbacks")
    assert first["most"] == 2


async def test_an_unbound_token_fills_the_log_no_further_with_what_names_no_item(
    gateway: Running, db: Direct, clock: ScaledClock
) -> None:
    await _fill_log(gateway, MOST_BODIES - 3 * LEFT)
    for form, status in (("no JSON %d", 400), ('{"songs": [], "n": %d}', 200), ('{"songs": [{"title": "%d"}]}', 400)):
        await _send(gateway, [(form % n).encode() for n in range(LEFT)], status=status)
    assert await _count(db, "callbacks") == MOST_BODIES
    for form, status in (("not JSON %d", 400), ('{"songs": [], "m": %d}', 200), ('{"songs": [{"mood": "%d"}]}', 400)):
        await _send(gateway, [(form % n).encode() for n in range(LEFT)], status=status)
    assert await _count(db, "callbacks") == MOST_BODIES
    # What names an item is of that item's account; and another family's token has its own.
    await _send(gateway, [song("t2m_ext")])
    assert (await gateway.call_back("stems", b"no JSON")).status_code == 400
    assert await _count(db, "callbacks") == MOST_BODIES + 2
    # The next day it has as many again.
    clock.skip(86_400 + 60)
    await _send(gateway, [f"no more JSON {n}".encode() for n in range(LEFT)], status=400)
    assert await _count(db, "callbacks") == MOST_BODIES + 2 + LEFT


async def test_the_timeline_keeps_its_beginning_and_its_newest_entries(gateway: Running, db: Direct) -> None:
    task_id = (await gateway.submit())["id"]
    have = MOST_ENTRIES - LEFT
    await db.execute(
        "INSERT INTO timeline (task_id, seq, at, type, version, detail) WITH RECURSIVE n(i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {have - 1}) "
        "SELECT task_id, seq + i, at, type, version, detail FROM timeline, n",
        f"UPDATE tasks SET timeline_seq = {have}",
    )
    await _send(gateway, [song(title=f"Title {n}") for n in range(3 * LEFT)], UUID(task_id))
    kept = [row["seq"] for row in await db.rows("SELECT seq FROM timeline ORDER BY seq")]
    newest = have + 3 * LEFT
    half = MOST_ENTRIES // 2
    assert kept == [*range(1, half + 1), *range(newest - half + 1, newest + 1)]
    assert (await gateway.task(task_id))["items"][0]["title"] == f"Title {3 * LEFT - 1}"


async def test_one_row_of_the_timeline_stays_small_whatever_a_body_names(gateway: Running, db: Direct) -> None:
    task_id = UUID((await gateway.submit())["id"])
    names: dict[str, Any] = {f"{n:03}" + "x" * 197: n for n in range(90)}
    items = [song(f"t2m_{n}", **names)["songs"][0] for n in range(40)]
    assert (await gateway.call_back("song", {"songs": items}, task_id)).status_code == 200
    [row] = await db.rows("SELECT max(length(CAST(detail AS TEXT))) AS size FROM timeline")
    assert row["size"] < 64 * 1024
    entries = (await gateway.api.get(f"/v1/tasks/{task_id}/timeline")).json()["data"]
    [detail] = [entry["detail"] for entry in entries if entry["type"] == "callback"]
    # Of each item two: that its task had not been sent, and what was said of it.
    assert detail["more_notes"] == 80 - len(detail["items"])
    assert {MOST_OTHER_FIELDS - len(note["fields"]) for note in detail["items"] if "fields" in note} == {
        detail["items"][1]["more_fields"]
    }


async def test_large_bodies_of_one_task_fill_the_disk_no_further_than_small_ones(gateway: Running, db: Direct) -> None:
    for size in (20_000, 200_000, 1_000_000):
        task_id = (await gateway.submit())["id"]
        counts_as = 1 + size // BODY_UNIT
        left = f"UPDATE tasks SET stored_bodies = {MOST_BODIES} - {LEFT * counts_as} WHERE id IN ({ids([task_id])})"
        await db.execute(left)
        flood = [song(f"t2m_{size}", title=f"Title {n}", news=f"{n}" + "x" * size) for n in range(LEFT + 2)]
        await _send(gateway, flood, UUID(task_id))
        assert len(await logged(gateway, task_id)) == LEFT, size
        assert (await gateway.task(task_id))["items"][0]["title"] == f"Title {LEFT + 1}"
    # All that one task may leave is some megabytes, whatever the size of its bodies.
    assert MOST_BODIES * BODY_UNIT <= 8 * 1024 * 1024
