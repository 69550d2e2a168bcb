"""Repeats, strangers and late comers: what the inbound log keeps and what the tasks make of it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from app.callbacks.commit import MOST_BODIES
from app.tasks.apply import CLEAN_FROM_BODIES
from tests.support.direct_sql import Direct, ids
from tests.support.gateway import Running
from tests.support.song_callbacks import assert_problem, done, logged, raw_body, song


@pytest.fixture
def learned(gateway: Running, db: Direct) -> Callable[..., Awaitable[Any]]:
    """How many samples of timing there are by now."""

    async def count() -> int:
        context = gateway.gateway.context
        await context.delays.flush(context.loops_db())
        return sum(row["n"] for row in await db.rows("SELECT n FROM delays"))

    return count


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_repeat_is_one_row_with_a_count_and_the_last_time(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    body = b'{"songs": [{"item_id": "t2m_1", "status": "running", "title": "Once"}]}'
    assert (await gateway.call_back("song", body, UUID(task["id"]))).text == "success"
    [first] = await logged(gateway)
    seen, told = await gateway.task(task["id"]), await gateway.timeline(task["id"])
    answers = await asyncio.gather(*(gateway.call_back("song", body, UUID(task["id"])) for _ in range(20)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, "success")}
    [again] = await logged(gateway)
    assert (again["id"], again["count"], again["received_at"]) == (first["id"], 21, first["received_at"])
    assert _at(again["last_received_at"]) > _at(first["last_received_at"])
    assert await gateway.task(task["id"]) == seen
    assert await gateway.timeline(task["id"]) == told
    # The same body for another task is another callback, and so is one that differs in a space.
    assert (await gateway.call_back("song", body.replace(b"t2m_1", b"t2m_2"), UUID(task["id"]))).status_code == 200
    assert (await gateway.call_back("song", body + b" ", UUID(task["id"]))).status_code == 200
    assert [one["count"] for one in await logged(gateway)] == [21, 1, 1]


async def test_the_first_copies_of_one_callback_at_once_are_one_row(gateway: Running) -> None:
    task = await gateway.submit()
    answers = await asyncio.gather(*(gateway.call_back("song", done(), UUID(task["id"])) for _ in range(30)))
    assert {answer.status_code for answer in answers} == {200}
    assert [(one["count"], one["disposition"]) for one in await logged(gateway)] == [(30, "applied")]
    assert [one["type"] for one in await gateway.timeline(task["id"])].count("callback") == 1


async def test_a_repeat_of_an_old_callback_changes_nothing(gateway: Running) -> None:
    task_id = UUID((await gateway.submit())["id"])
    old = song("t2m_1", "running", title="Working title", audio_url="https://cdn.example/old.mp3")
    new = song("t2m_1", "main_succeeded", title="Harbour Lights", audio_url="https://cdn.example/new.mp3")
    for body in (old, new):
        assert (await gateway.call_back("song", body, task_id)).status_code == 200
    before = await gateway.task(str(task_id))
    assert before["items"][0]["title"] == "Harbour Lights"
    assert before["items"][0]["artifacts"]["audio"]["url"] == "https://cdn.example/new.mp3"
    for _ in range(3):
        assert (await gateway.call_back("song", old, task_id)).text == "success"
    assert await gateway.task(str(task_id)) == before


async def test_refused_bodies_are_counted_too(gateway: Running) -> None:
    mine, theirs = [UUID((await gateway.submit())["id"]) for _ in range(2)]
    await gateway.call_back("song", song("t2m_mine"), mine)
    for _ in range(3):
        assert_problem(await gateway.call_back("song", b"{", mine), 400, "malformed")
        assert_problem(await gateway.call_back("song", song("t2m_mine"), theirs), 403, "forbidden")
    rows = [(one["task_id"], one["disposition"], one["count"]) for one in await logged(gateway)]
    assert rows == [(str(mine), "applied", 1), (str(mine), "malformed", 3), (str(theirs), "mismatched", 3)]


async def test_of_a_mixed_body_what_is_applicable_is_applied(gateway: Running) -> None:
    mine, theirs = [UUID((await gateway.submit())["id"]) for _ in range(2)]
    await gateway.call_back("song", song("t2m_mine", title="Mine"), mine)
    before = await gateway.task(str(mine))
    mixed = {"songs": [*done("t2m_mine", title="Stolen")["songs"], *done("t2m_theirs")["songs"]]}
    answer = await gateway.call_back("song", mixed, theirs)
    assert (answer.status_code, answer.text) == (200, "success")
    assert await gateway.task(str(mine)) == before
    assert [item["item_id"] for item in (await gateway.task(str(theirs)))["items"]] == ["t2m_theirs"]
    [kept] = await logged(gateway, str(theirs))
    assert kept["disposition"] == "mismatched"
    assert b"t2m_mine" in await raw_body(gateway, kept["id"])


async def test_a_repeat_of_a_mixed_body_is_applied_quietly(
    gateway: Running, db: Direct, learned: Callable[..., Awaitable[Any]]
) -> None:
    """What of it was another task's may have become applicable, so it is applied again: without a row in the
    timeline, and not as a sample of how long callbacks take."""
    mine, theirs = [UUID((await gateway.submit())["id"]) for _ in range(2)]
    await gateway.call_back("song", song("t2m_mine", event="audio_complete"), mine)
    mixed = song("t2m_theirs", "main_succeeded", event="audio_complete")
    mixed["songs"] += song("t2m_mine", "main_succeeded", event="wav_complete")["songs"]
    assert (await gateway.call_back("song", mixed, theirs)).status_code == 200
    before, told = await gateway.task(str(theirs)), await gateway.timeline(str(theirs))
    samples = await learned()
    assert samples == 2
    for _ in range(3):
        assert (await gateway.call_back("song", mixed, theirs)).text == "success"
    assert await gateway.task(str(theirs)) == before
    assert await gateway.timeline(str(theirs)) == told
    # The item's first owner is gone: now the body's second half is applicable, and an event of it is heard first.
    await db.execute(f"DELETE FROM tasks WHERE id IN ({ids([str(mine)])})")
    assert (await gateway.call_back("song", mixed, theirs)).text == "success"
    after = await gateway.task(str(theirs))
    assert [item["item_id"] for item in after["items"]] == ["t2m_theirs", "t2m_mine"]
    assert after["version"] > before["version"]
    assert await gateway.timeline(str(theirs)) == told
    [kept] = await logged(gateway, str(theirs))
    assert (kept["disposition"], kept["count"]) == ("applied", 5)
    assert await learned() == samples


async def test_the_log_is_listed_newest_first_filtered_and_in_pages(gateway: Running) -> None:
    one, two = [UUID((await gateway.submit())["id"]) for _ in range(2)]
    for n in range(7):
        await gateway.call_back("song", song(f"t2m_{n}"), one if n % 2 else two)
        await gateway.call_back("song", b"%d" % n, one)
    everything = (await logged(gateway))[::-1]
    assert len(everything) == 14
    pages, cursor = [], None
    while True:
        params = {"limit": 4} | ({"cursor": cursor} if cursor else {})
        page = (await gateway.api.get("/v1/callbacks", params=params)).json()
        pages += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == everything
    bad = (await gateway.api.get("/v1/callbacks", params={"disposition": "malformed"})).json()["data"]
    assert {(row["disposition"], row["task_id"]) for row in bad} == {("malformed", str(one))}
    assert len(bad) == 7
    other = await gateway.api.get("/v1/callbacks", params={"limit": 2, "task_id": str(two)})
    cursor = other.json()["next_cursor"]
    assert_problem(await gateway.api.get("/v1/callbacks", params={"cursor": cursor}), 400, "bad_cursor")
    assert_problem(await gateway.api.get("/v1/callbacks", params={"disposition": "nonsense"}), 422)
    assert (await gateway.api.get(f"/v1/callbacks/{one}")).status_code == 404


async def test_a_callback_for_a_purged_task_is_an_orphan(gateway: Running, db: Direct) -> None:
    gone, here = [(await gateway.submit())["id"] for _ in range(2)]
    await db.execute(f"DELETE FROM tasks WHERE id IN ({ids([gone])})")
    for _ in range(2):
        answer = await gateway.call_back("song", done("t2m_gone"), UUID(gone))
        assert (answer.status_code, answer.text) == (200, "success")
    [kept] = await logged(gateway)
    assert (kept["disposition"], kept["count"], kept["task_id"]) == ("orphan", 2, gone)
    assert await db.rows("SELECT * FROM items") == []
    assert len(await db.rows("SELECT * FROM tasks")) == 1
    # One that has an orphan beside it in its group is none the worse for it.
    answers = await asyncio.gather(
        *(gateway.call_back("song", song(f"t2m_{n}"), UUID(here if n % 2 else gone)) for n in range(20))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len((await gateway.task(here))["items"]) == 10


@pytest.mark.own_database
async def test_a_poisonous_callback_is_kept_apart_and_its_neighbours_are_fine(gateway: Running, db: Direct) -> None:
    await db.refuse_items("NEW.item_id = 't2m_poison'")
    tasks = [UUID((await gateway.submit())["id"]) for _ in range(6)]
    names = [f"t2m_{n}" for n in range(40)]
    names[13] = "t2m_poison"
    answers = await asyncio.gather(
        *(gateway.call_back("song", done(name), tasks[n % 6]) for n, name in enumerate(names))
    )
    assert {name: one.status_code for name, one in zip(names, answers, strict=True)} == {
        name: 400 if name == "t2m_poison" else 200 for name in names
    }
    assert_problem(answers[13], 400, "poisoned")
    found = [item["item_id"] for task_id in tasks for item in (await gateway.task(str(task_id)))["items"]]
    assert sorted(found) == sorted(set(names) - {"t2m_poison"})
    kept = await logged(gateway)
    assert len(kept) == 40
    [poisoned] = [one for one in kept if one["disposition"] == "poisoned"]
    assert b"t2m_poison" in await raw_body(gateway, poisoned["id"])
    # Again and again, also as a group of its own; nothing else is held up.
    for _ in range(2):
        assert (await gateway.call_back("song", done("t2m_poison"), tasks[13 % 6])).status_code == 400
    assert (await gateway.call_back("song", song("t2m_after"), tasks[0])).status_code == 200


async def test_large_values_that_nothing_refers_to_are_not_kept_without_end(gateway: Running, db: Direct) -> None:
    for field in ("lyrics", "lyrics_sections", "news"):
        task_id = (await gateway.submit())["id"]
        for n in range(CLEAN_FROM_BODIES + 6):
            # Of two turns one brings a small value, which takes the place of the large one too.
            value = [f"line {n} " * 100] if n % 2 else [f"{n}"]
            body = song(f"t2m_{field}", **{field: value})
            assert (await gateway.call_back("song", body, UUID(task_id))).status_code == 200
        [kept] = await db.rows("SELECT count(*) AS n FROM item_values")
        assert kept["n"] <= CLEAN_FROM_BODIES // 2 + 1, field
        for value in (["line 99 " * 100], ["small"]):
            body = song(f"t2m_{field}", **{field: value})
            assert (await gateway.call_back("song", body, UUID(task_id))).status_code == 200
        assert await db.rows("SELECT * FROM item_values") == [], field
        assert (await gateway.task(task_id))["items"][0]["vendor"][field] == ["small"]


async def test_an_unbound_token_fills_the_log_no_further_for_one_item(gateway: Running, db: Direct) -> None:
    def with_lyrics(n: int) -> dict[str, Any]:
        return song("t2m_ext", lyrics=f"line {n} " * 200)

    assert (await gateway.call_back("song", with_lyrics(0))).status_code == 200
    await db.execute(f"UPDATE tasks SET stored_bodies = {MOST_BODIES - 3}")
    for n in range(1, 8):
        assert (await gateway.call_back("song", with_lyrics(n))).status_code == 200
    assert len(await logged(gateway)) == 1 + 3
    [values] = await db.rows("SELECT count(*) AS n FROM item_values")
    assert values["n"] <= CLEAN_FROM_BODIES


async def test_a_repeat_that_can_be_read_by_now_is_applied(gateway: Running, db: Direct) -> None:
    task_id = UUID((await gateway.submit())["id"])
    assert (await gateway.call_back("song", done(), task_id)).status_code == 200
    # As an earlier release would have left it that could not read it.
    await db.execute("UPDATE callbacks SET disposition = 'malformed'")
    assert (await gateway.call_back("song", done(), task_id)).status_code == 200
    [row] = await db.rows("SELECT disposition FROM callbacks")
    assert row["disposition"] == "applied"
