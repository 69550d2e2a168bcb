"""Verifying and repairing: whatever was said, the record makes the same state, and restores it where it is damaged."""

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest

from tests.support.bodies import assert_problem, done, logged, song
from tests.support.clock import ScaledClock
from tests.support.direct import Direct, ids
from tests.support.gateway import Running, eventually
from tests.support.notifications import client_of
from tests.support.retention import DAY_S
from tests.support.starting import StartGateway, StartSandbox
from tests.support.stored import change_state, large_values, states

NOWHERE = "https://receiver.example/hook"
QUICK = {"query_first_after_s": 0.2, "query_interval_s": 0.2, "query_rate_per_s": 100, "submit_max_in_flight": 50}
KINDS = ("song.generate", "instrumental.generate", "lyrics.generate", "stems.create", "midi.create")


async def verify(gateway: Any, task_id: str, **params: Any) -> Any:
    answer = await gateway.api.post(f"/v1/tasks/{task_id}/verify", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def assert_clean(gateway: Running, task_id: str) -> None:
    found = await verify(gateway, task_id)
    assert (found["differences"], found["incomplete"], found["beyond_record"]) == ([], [], []), found


def said_at_random(rng: random.Random, item_id: str) -> dict[str, Any]:
    """What the vendor, or a liar with the token, might post about a song."""
    item: dict[str, Any] = {"item_id": item_id}
    item["status"] = rng.choice(["waiting", "running", "main_succeeded", "odd", "", None, 7])
    item["event"] = rng.choice(["audio_chunk", "audio_complete", "wav_complete", "odd", None])
    item["title"] = rng.choice(["A", "B", "C\x00", "", None, 5])
    item["style"] = rng.choice(["x" * 600, "y" * 700, "short", None])
    item["audio_url"] = rng.choice(["https://cdn.example/1?k=1", "https://cdn.example/2?k=2", "ftp://no", None])
    item["audio_hi_status"] = rng.choice(["running", "sub_failed", "sub_succeeded", None])
    item["lyrics_sections"] = rng.choice([[{"start": 1, "end": 2, "text": "la " * 300}], [], None])
    item["unheard_of"] = rng.choice([{"deep": [1, 2]}, 1, 1.0, True, None])
    return item


@pytest.fixture
async def busy(
    start_gateway: StartGateway, start_sandbox: StartSandbox, db: Direct, request: pytest.FixtureRequest
) -> tuple[Running, list[Any], random.Random]:
    """A gateway whose tasks have ended after callbacks that were lost, doubled and reordered, forged ones among them,
    with queries in between. Nothing moves any more."""
    seed = getattr(request, "param", 1)
    rng = random.Random(seed)
    sandbox = await start_sandbox(scale=150, callbacks={"drop": 0.6, "double": 0.3, "reorder": 0.4}, seed=seed)
    gateway = await start_gateway(sandbox, **QUICK)
    tasks = await asyncio.gather(*(gateway.submit(KINDS[n % len(KINDS)]) for n in range(7)))
    songs = [UUID(task["id"]) for task in tasks if task["kind"] == "song.generate"]
    named = {}

    async def all_named() -> bool:
        for task_id in songs:
            named[task_id] = [item["item_id"] for item in (await gateway.task(str(task_id)))["items"]]
        return all(named.values())

    await eventually(all_named)
    for _ in range(30):
        task_id = rng.choice(songs)
        item_id = rng.choice([*named[task_id], *named[rng.choice(songs)]])
        body = {"songs": [said_at_random(rng, item_id) for _ in range(rng.randint(1, 2))]}
        assert (await gateway.call_back("song", body, task_id)).status_code in (200, 403)

    async def all_settled() -> bool:
        rows = await db.rows("SELECT id FROM tasks WHERE finished_at IS NULL OR timer_due_at IS NOT NULL")
        return not rows

    await eventually(all_settled, timeout_s=40)
    await gateway.gateway.supervisor.stop(5)
    return gateway, [task["id"] for task in tasks], rng


@pytest.mark.parametrize("busy", [1, 2], indirect=True)
async def test_the_record_makes_the_same_state_and_restores_it(
    busy: tuple[Running, list[Any], random.Random], db: Direct
) -> None:
    gateway, tasks, rng = busy
    kinds = {one["type"] for task in tasks for one in await gateway.timeline(task)}
    assert kinds >= {"submitted", "callback", "query"}
    for task in tasks:
        await assert_clean(gateway, task)
    before, large = await states(db), await large_values(db)
    shown = {task: (await gateway.task(task))["items"] for task in tasks}
    for part in DAMAGES:
        item_id = rng.choice(
            sorted(item_id for item_id, state in before.items() if state.get(_PLACES.get(part, part), True))
        )
        await damage_at_random(rng, db, item_id, before[item_id], part)
        task = next(task for task in tasks for item in shown[task] if item["item_id"] == item_id)
        found = await verify(gateway, task)
        assert found["differences"], (item_id, await states(db))
        assert {one["item_id"] for one in found["differences"]} <= {item_id, None}
        assert (found["repaired"], found["incomplete"], found["beyond_record"]) == (False, [], [])
        assert await verify(gateway, task) == found
        fixed = await verify(gateway, task, repair=True)
        assert (fixed["differences"], fixed["repaired"], fixed["remaining"]) == (found["differences"], True, [])
        assert await states(db) == before
        assert await large_values(db) == large
        await assert_clean(gateway, task)
    for task in tasks:
        # A new row has no memory of when it was last heard of.
        times = ("last_callback_at", "last_query_at")
        items = (await gateway.task(task))["items"]
        assert [{name: one[name] for name in one if name not in times} for one in items] == [
            {name: one[name] for name in one if name not in times} for one in shown[task]
        ]


DAMAGES = ("statuses", "values", "urls", "large", "altered", "sighted_us", "item")
_PLACES = {"altered": "large"}


async def damage_at_random(rng: random.Random, db: Direct, item_id: str, state: dict[str, Any], part: Any) -> None:
    """One fault of one item, as a bad restore or a hand in the database might make it."""
    match part:
        case "item":
            await db.execute(f"DELETE FROM items WHERE item_id = '{item_id}'")
        case "statuses":
            name = rng.choice(sorted(state["statuses"]))
            await change_state(db, item_id, lambda held: held["statuses"].update({name: "waiting"}))
        case "values":
            name = rng.choice(sorted(state["values"]))
            await change_state(db, item_id, lambda held: held["values"].pop(name))
        case "urls":
            name = rng.choice(sorted(state["urls"]))
            await change_state(db, item_id, lambda held: held["urls"].pop(name))
        case "large":
            value = f"WHERE item_id = '{item_id}' AND digest = '{rng.choice(sorted(state['large'].values()))}'"
            await db.execute(f"DELETE FROM item_values {value}")
        case "altered":
            value = f"WHERE item_id = '{item_id}' AND digest = '{rng.choice(sorted(state['large'].values()))}'"
            await db.execute(f"UPDATE item_values SET value = '\"other\"' {value}")
        case _:
            await change_state(db, item_id, lambda held: held.update(sighted_us=1))


async def test_a_lowered_status_is_found_wherever_it_stands(gateway: Running, db: Direct) -> None:
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", done("t2m_1"), UUID(task))
    before = await gateway.task(task)
    for damage, field in (
        ("UPDATE items SET status = 'running'", "status (derived)"),
        ("UPDATE tasks SET status = 'running'", "status"),
    ):
        await assert_clean(gateway, task)
        await db.execute(damage)
        assert field in {one["field"] for one in (await verify(gateway, task))["differences"]}
        assert (await verify(gateway, task, repair=True))["remaining"] == []
        after = await gateway.task(task)
        assert {**after, "version": 0, "updated_at": ""} == {**before, "version": 0, "updated_at": ""}


async def test_a_repair_is_told_in_the_timeline_and_to_nobody_unless_it_is_asked_for(
    gateway: Running, db: Direct
) -> None:
    studio = await client_of(gateway)
    task = (await studio.submit(NOWHERE))["id"]
    await gateway.call_back("song", done("t2m_1", title="Harbour Lights"), UUID(task))
    told = await studio.notifications()

    async def lose() -> None:
        await db.execute(
            "DELETE FROM items",
            "UPDATE tasks SET status = 'queued', submitted_at = NULL, finished_at = NULL, playable_at = NULL",
        )

    await lose()
    assert (await verify(gateway, task, repair=True))["remaining"] == []
    assert await studio.notifications() == told
    [row] = [one for one in await gateway.timeline(task) if one["type"] == "repaired"]
    assert "t2m_1: item" in row["detail"]["differences"]
    assert "https://" not in str(row["detail"])
    await lose()
    assert (await verify(gateway, task, repair=True, notify=True))["remaining"] == []
    assert len(await studio.notifications()) == 2 * len(told)


async def test_what_is_more_than_the_record_is_a_fault_that_no_repair_erases(gateway: Running, db: Direct) -> None:
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", song("t2m_1", title="Harbour Lights"), UUID(task))
    await change_state(db, "t2m_1", lambda state: state["statuses"].update(status="succeeded"))
    await change_state(db, "t2m_1", lambda state: state["values"].update(forged=[1, "x"]))
    found = await verify(gateway, task, repair=True)
    assert {one["field"] for one in found["remaining"]} == {"status", "forged"}
    assert (await states(db))["t2m_1"]["values"]["forged"] == "x"


async def assert_incomplete(gateway: Running, task: Any) -> None:
    found = await verify(gateway, task)
    assert (found["differences"], bool(found["incomplete"]), bool(found["beyond_record"])) == ([], True, True)
    assert (await verify(gateway, task, repair=True))["differences"] == []


async def test_an_incomplete_record_is_told_and_is_no_difference(gateway: Running, db: Direct) -> None:
    for number, damages in enumerate(
        (
            ["DELETE FROM callbacks WHERE task_id IN ({})"],
            ["UPDATE tasks SET stored_bodies = 200 WHERE id IN ({})", "DELETE FROM callbacks WHERE task_id IN ({})"],
            ["DELETE FROM timeline WHERE seq > 1 AND task_id IN ({})", "DELETE FROM callbacks WHERE task_id IN ({})"],
        )
    ):
        task = (await gateway.submit())["id"]
        await gateway.call_back("song", done(f"t2m_{number}"), UUID(task))
        await assert_clean(gateway, task)
        await db.execute(*(damage.format(ids([task])) for damage in damages))
        await assert_incomplete(gateway, task)


async def test_a_record_of_queries_without_their_times_is_incomplete(
    start_gateway: StartGateway, start_sandbox: StartSandbox, db: Direct
) -> None:
    sandbox = await start_sandbox(scale=300, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, **QUICK)
    task = (await gateway.submit())["id"]
    await gateway.until(task, "succeeded")
    await eventually(lambda: _settled(db))
    await gateway.gateway.supervisor.stop(5)
    await assert_clean(gateway, task)
    changed = "replace(CAST(detail AS TEXT), 'asked_at', 'before_that')"
    await db.execute(f"UPDATE timeline SET detail = {changed if db.is_sqlite else f'({changed})::json'}")
    await assert_incomplete(gateway, task)
    # What the rest of the record proves is a fault all the same.
    [item_id] = await states(db)
    await change_state(db, item_id, lambda state: state["statuses"].update(status="waiting"))
    assert "status" in {one["field"] for one in (await verify(gateway, task))["differences"]}


async def _settled(db: Direct) -> bool:
    return not await db.rows("SELECT id FROM tasks WHERE timer_due_at IS NOT NULL")


async def test_external_tasks_and_items_of_others(gateway: Running, db: Direct) -> None:
    mine, theirs = [(await gateway.submit())["id"] for _ in range(2)]
    await gateway.call_back("song", song("t2m_mine", title="Mine"), UUID(mine))
    mixed = {"songs": [*done("t2m_mine", title="Stolen")["songs"], *done("t2m_theirs")["songs"]]}
    await gateway.call_back("song", mixed, UUID(theirs))
    await gateway.call_back("song", done("t2m_ext", title="Stranger"))
    external = (await gateway.api.get("/v1/items/t2m_ext")).json()["id"]
    for task in (mine, theirs, external):
        await assert_clean(gateway, task)
    await change_state(db, "t2m_ext", lambda state: state["values"].pop("title"))
    assert (await verify(gateway, external, repair=True))["remaining"] == []
    assert (await gateway.task(external))["items"][0]["title"] == "Stranger"
    # An item that moved brought what was known of it along.
    await gateway.call_back("song", song("t2m_ext", "succeeded"), UUID(mine))
    found = await verify(gateway, mine)
    assert found["differences"] == []
    assert found["incomplete"] == ["an item was taken over from another task, with what was known of it"]


async def test_a_malformed_one_is_not_part_of_the_record_until_it_is_replayed(gateway: Running, db: Direct) -> None:
    task = (await gateway.submit())["id"]
    await gateway.call_back("song", done("t2m_1"), UUID(task))
    await gateway.call_back("song", song("t2m_1", title="Harbour Lights"), UUID(task))
    row = (await logged(gateway))[-1]
    await db.execute(f"UPDATE callbacks SET disposition = 'malformed' WHERE id IN ({ids([row['id']])})")
    await change_state(db, "t2m_1", lambda state: state["values"].pop("title"))
    fields = {one["field"] for one in (await verify(gateway, task))["differences"]}
    assert "title" not in fields
    await gateway.api.post(f"/v1/callbacks/{row['id']}/replay")
    await assert_clean(gateway, task)


async def test_it_is_an_admins(gateway: Running, clock: ScaledClock) -> None:
    studio = await client_of(gateway)
    task = (await studio.submit(None))["id"]
    path = f"/v1/tasks/{task}/verify"
    assert_problem(await gateway.api.post(path, headers=studio.headers), 403, "forbidden")
    assert_problem(await gateway.api.post("/v1/tasks/nonsense/verify"), 404, "not_found")
    clock.skip(DAY_S)
    assert_problem(await gateway.api.post(path.replace(task[:8], "00000000")), 404, "not_found")
