"""A stored callback, read anew: by the same way, as of its own time, and nobody is told unless it is asked for."""

from typing import Any
from uuid import UUID

import pytest

from tests.support.direct_sql import Direct
from tests.support.gateway import Running
from tests.support.notifications import client_of
from tests.support.song_callbacks import assert_problem, done, logged, song

NOWHERE = "https://receiver.example/hook"


async def replay(gateway: Running, callback_id: str, **params: Any) -> dict[str, Any]:
    answer = await gateway.api.post(f"/v1/callbacks/{callback_id}/replay", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def damage(db: Direct, table: str, change: str) -> None:
    await db.execute(f"UPDATE {table} SET {change}")


async def test_a_replay_of_what_was_applied_changes_nothing_but_the_timeline(gateway: Running, db: Direct) -> None:
    task = (await gateway.submit())["id"]
    old = song("t2m_1", title="Working title", audio_url="https://cdn.example/old.mp3")
    await gateway.call_back("song", old, UUID(task))
    await gateway.call_back("song", old, UUID(task))
    await gateway.call_back("song", done("t2m_1", title="Harbour Lights"), UUID(task))
    rows, seen = await logged(gateway), await gateway.task(task)
    [stored] = await db.rows("SELECT stored_bodies FROM tasks")
    for row in rows:
        shown = await replay(gateway, row["id"])
        assert shown == {**row, "changed": []}
    # Neither counted again nor taken for new: the older title did not come back.
    assert await logged(gateway) == rows
    assert await gateway.task(task) == seen
    assert await db.rows("SELECT stored_bodies FROM tasks") == [stored]
    told = await gateway.timeline(task)
    assert [one["detail"]["callback_id"] for one in told if one["type"] == "replayed"] == [row["id"] for row in rows]


async def test_a_replay_brings_back_what_was_lost_as_of_its_own_time(gateway: Running, db: Direct) -> None:
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", done("t2m_1", title="Harbour Lights"), UUID(task))
    [row] = await logged(gateway)
    before = await gateway.task(task)
    await db.execute("DELETE FROM items")
    assert (await gateway.task(task))["items"] == []
    shown = await replay(gateway, row["id"])
    assert shown["changed"] == [task]
    after = await gateway.task(task)
    assert after["items"] == before["items"]
    assert after["version"] > before["version"]


@pytest.mark.parametrize("disposition", ["malformed", "poisoned"])
async def test_what_can_be_read_now_becomes_applied(gateway: Running, db: Direct, disposition: str) -> None:
    """As after an upgrade, or the end of a fault of the database."""
    studio = await client_of(gateway)
    task = (await studio.submit(NOWHERE))["id"]
    await gateway.call_back("song", done("t2m_1"), UUID(task))
    await db.execute("DELETE FROM items", "DELETE FROM notifications")
    await damage(db, "callbacks", f"disposition = '{disposition}', detail = 'why'")
    await damage(db, "tasks", "status = 'queued', submitted_at = NULL, finished_at = NULL, playable_at = NULL")
    [row] = await logged(gateway)
    shown = await replay(gateway, row["id"])
    assert (shown["disposition"], shown["detail"], shown["changed"]) == ("applied", None, [task])
    [row] = await logged(gateway)
    assert (row["disposition"], row["detail"]) == ("applied", None)
    assert (await gateway.task(task))["status"] == "succeeded"
    assert await studio.notifications() == []


async def test_the_client_is_told_where_it_is_asked_for(gateway: Running, db: Direct) -> None:
    studio = await client_of(gateway)
    task = (await studio.submit(NOWHERE))["id"]
    await gateway.call_back("song", done("t2m_1"), UUID(task))
    told = sorted(one["type"] for one in await studio.notifications())
    await db.execute("DELETE FROM items", "DELETE FROM notifications")
    await damage(db, "tasks", "status = 'queued', submitted_at = NULL, finished_at = NULL, playable_at = NULL")
    [row] = await logged(gateway)
    assert (await replay(gateway, row["id"], notify=True))["changed"] == [task]
    assert sorted(one["type"] for one in await studio.notifications()) == told
    assert "task.succeeded" in told


async def test_what_still_cannot_be_read_stays_malformed(gateway: Running, db: Direct) -> None:
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", b"{", UUID(task))
    [row] = await logged(gateway)
    await damage(db, "callbacks", "detail = 'in older words'")
    shown = await replay(gateway, row["id"])
    assert shown == {**row, "changed": []}


@pytest.mark.own_database
async def test_what_still_cannot_be_applied_stays_poisoned(gateway: Running, db: Direct) -> None:
    task = (await gateway.submit())["id"]
    await db.refuse_items("NEW.item_id IS NOT NULL")
    assert (await gateway.call_back("song", done("t2m_1"), UUID(task))).status_code == 400
    [row] = await logged(gateway)
    assert row["disposition"] == "poisoned"
    assert_problem(await gateway.api.post(f"/v1/callbacks/{row['id']}/replay"), 409, "conflict")
    assert await logged(gateway) == [row]
    await db.allow_items()
    assert (await replay(gateway, row["id"]))["disposition"] == "applied"
    assert (await gateway.task(task))["status"] == "succeeded"


async def test_strangers_and_orphans(gateway: Running, db: Direct) -> None:
    mine, theirs = [(await gateway.submit())["id"] for _ in range(2)]
    await gateway.call_back("song", song("t2m_1"), UUID(mine))
    await gateway.call_back("song", song("t2m_1", "failed"), UUID(theirs))
    await gateway.call_back("song", song("t2m_ext", title="Stranger"))
    [first, second, stranger] = await logged(gateway)
    assert (await replay(gateway, second["id"]))["disposition"] == "mismatched"
    assert (await replay(gateway, stranger["id"]))["changed"] == []
    await db.execute("DELETE FROM tasks")
    assert (await replay(gateway, first["id"]))["disposition"] == "orphan"
    assert (await logged(gateway))[0]["disposition"] == "orphan"
    # One that is bound to nobody makes its external task anew.
    [again] = (await replay(gateway, stranger["id"]))["changed"]
    assert (await gateway.task(again))["items"][0]["title"] == "Stranger"


async def test_what_names_nothing_and_is_bound_to_nobody_stays_an_orphan(gateway: Running) -> None:
    assert (await gateway.call_back("song", {"songs": []})).status_code == 200
    [row] = await logged(gateway)
    assert row["disposition"] == "orphan"
    assert await replay(gateway, row["id"]) == {**row, "changed": []}
    assert await logged(gateway) == [row]


async def test_it_is_an_admins(gateway: Running) -> None:
    studio = await client_of(gateway)
    await gateway.call_back("song", song("t2m_1"))
    [row] = await logged(gateway)
    path = f"/v1/callbacks/{row['id']}/replay"
    assert_problem(await gateway.api.post(path, headers=studio.headers), 403, "forbidden")
    assert_problem(await gateway.api.post("/v1/callbacks/nonsense/replay"), 404, "not_found")
    assert_problem(await gateway.api.post(path.replace(row["id"][:8], "00000000")), 404, "not_found")


async def test_a_replay_is_as_of_the_first_copy_however_late_the_last_one_came(gateway: Running) -> None:
    task = (await gateway.submit())["id"]
    for title in ("Draft", "Final", "Draft"):
        assert (await gateway.call_back("song", song("t2m_1", title=title), UUID(task))).status_code == 200
    [draft, final] = await logged(gateway)
    assert (draft["count"], final["count"]) == (2, 1)
    assert (await replay(gateway, draft["id"]))["changed"] == []
    assert (await gateway.task(task))["items"][0]["title"] == "Final"
