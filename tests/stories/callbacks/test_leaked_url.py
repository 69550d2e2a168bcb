"""Whoever has a callback URL, of a task or of nobody, cannot fill the disk with it."""

import asyncio
from uuid import UUID

import pytest

from app.domain.item import MOST_OTHER_FIELDS
from app.storage.inbox import BODY_UNIT, MOST_BODIES
from app.storage.timeline import MOST_ENTRIES
from tests.support.bodies import logged, song
from tests.support.clock import ScaledClock

GROUP = 64
"""Callbacks of one group are judged together, so a group may go over by its own."""


async def _flood(gateway, bodies, task_id=None, *, status=200):
    for start in range(0, len(bodies), 20):
        some = bodies[start : start + 20]
        answers = await asyncio.gather(*(gateway.call_back("song", body, task_id) for body in some))
        assert {answer.status_code for answer in answers} == {status}


async def _count(db, table):
    [row] = await db.rows(f"SELECT count(*) AS n FROM {table}")
    return row["n"]


async def test_only_so_many_bodies_of_one_task_are_kept_and_the_rest_is_still_applied(gateway, db):
    mine, other = [UUID((await gateway.submit())["id"]) for _ in range(2)]
    await gateway.call_back("song", song("t2m_other"), other)
    await _flood(gateway, [song(title=f"Title {n}") for n in range(MOST_BODIES + 60)], mine)
    assert MOST_BODIES < await _count(db, "callbacks") <= MOST_BODIES + 1 + GROUP
    assert (await gateway.task(str(mine)))["items"][0]["title"].startswith("Title 2")
    # Another task's allowance is its own.
    await gateway.call_back("song", song("t2m_other", title="kept"), other)
    assert len(await logged(gateway, str(other))) == 2


async def test_the_token_of_a_purged_task_fills_the_log_no_further(gateway, db):
    purged = UUID((await gateway.submit())["id"])
    await db.execute("DELETE FROM tasks")
    await _flood(gateway, [song(title=f"Title {n}") for n in range(MOST_BODIES + 60)], purged)
    assert await _count(db, "callbacks") == MOST_BODIES
    # Malformed ones are of the same account, and answered as ever.
    await _flood(gateway, [f"no JSON {n}".encode() for n in range(20)], purged)
    assert await _count(db, "callbacks") == MOST_BODIES
    # A repeat of one that was kept is counted.
    repeat = await gateway.call_back("song", song(title="Title 0"), purged)
    assert (repeat.status_code, repeat.text) == (200, "success")
    [first] = await db.rows("SELECT max(count) AS most FROM callbacks")
    assert first["most"] == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param("no JSON {n}", 400, id="malformed"),
        pytest.param('{{"songs": [], "n": {n}}}', 200, id="empty list"),
        pytest.param('{{"songs": [{{"title": "{n}"}}]}}', 400, id="items without an id"),
    ],
)
async def test_an_unbound_token_fills_the_log_no_further_with_what_names_no_item(gateway, db, body, status):
    await _flood(gateway, [body.format(n=n).encode() for n in range(MOST_BODIES + 60)], status=status)
    assert await _count(db, "callbacks") == MOST_BODIES
    # What names an item is of that item's account; and another family's token has its own.
    assert (await gateway.call_back("song", song("t2m_ext"))).status_code == 200
    assert (await gateway.call_back("stems", b"no JSON")).status_code == 400
    assert await _count(db, "callbacks") == MOST_BODIES + 2


async def test_an_unbound_token_has_a_new_allowance_each_day(start_gateway, db):
    clock = ScaledClock()
    gateway = await start_gateway(workers=False, clock=clock)
    await _flood(gateway, [f"no JSON {n}".encode() for n in range(MOST_BODIES + 5)], status=400)
    clock.skip(86_400 + 60)
    await _flood(gateway, [f"not JSON {n}".encode() for n in range(5)], status=400)
    assert await _count(db, "callbacks") == MOST_BODIES + 5


async def test_the_timeline_keeps_its_beginning_and_its_newest_entries(gateway, db):
    task_id = (await gateway.submit())["id"]
    flood = [song(title=f"Title {n}") for n in range(MOST_ENTRIES + 100)]
    await _flood(gateway, flood, UUID(task_id))
    await gateway.call_back("song", song(title="The last"), UUID(task_id))
    assert await _count(db, "timeline") == MOST_ENTRIES
    [ends] = await db.rows("SELECT min(seq) AS first, max(seq) AS last FROM timeline")
    task = await gateway.task(task_id)
    assert (ends["first"], task["items"][0]["title"]) == (1, "The last")
    assert ends["last"] > MOST_ENTRIES


async def test_one_row_of_the_timeline_stays_small_whatever_a_body_names(gateway, db):
    task_id = UUID((await gateway.submit())["id"])
    names = {f"{n:03}" + "x" * 197: n for n in range(90)}
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


@pytest.mark.parametrize("size", [20_000, 200_000, 1_000_000])
async def test_large_bodies_of_one_task_fill_the_disk_no_further_than_small_ones(gateway, db, size):
    task_id = UUID((await gateway.submit())["id"])
    for n in range(MOST_BODIES * BODY_UNIT // max(size, BODY_UNIT) + 5):
        answer = await gateway.call_back("song", song(title=f"Title {n}", news=f"{n}" + "x" * size), task_id)
        assert answer.text == "success"
    [kept] = await db.rows("SELECT count(*) AS n, sum(length(body)) AS bytes FROM callbacks")
    assert kept["bytes"] <= MOST_BODIES * BODY_UNIT + size + 200
    [item] = (await gateway.task(str(task_id)))["items"]
    assert item["title"] == f"Title {n}"
