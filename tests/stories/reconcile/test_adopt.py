"""Items that another system submitted to the vendor, followed for a client from now on."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.reconcile.claims import ClaimTimes, claim_due
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct, ids
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, running_gateway
from tests.support.song_callbacks import assert_problem, done, said, song
from tests.support.start_fixtures import StartGateway, StartSandbox


async def adopt(
    gateway: Running, *item_ids: Any, family: str = "song", client: str | None = None, **headers: Any
) -> httpx.Response:
    """Adopt items, as the admin unless ``headers`` say otherwise."""
    body = {"family": family, "item_ids": list(item_ids)} | ({} if client is None else {"client": client})
    return await gateway.api.post("/v1/tasks/adopt", json=body, headers=headers)


async def adopted(gateway: Running, *item_ids: Any, **more: Any) -> Any:
    answer = await adopt(gateway, *item_ids, **more)
    assert answer.status_code == 202, answer.text
    assert answer.json()["next_cursor"] is None
    return answer.json()["data"]


async def client(gateway: Running, name: str) -> dict[str, Any]:
    made = (await gateway.api.post("/v1/clients", json={"name": name})).json()
    return {"Authorization": f"Bearer {made['api_key']}"}


async def test_each_item_becomes_a_task_of_the_client_that_is_followed(gateway: Running, db: Direct) -> None:
    studio = await client(gateway, "studio")
    first, second = await adopted(gateway, "t2m_a", 77, client="studio")
    assert [first["items"][0]["item_id"], second["items"][0]["item_id"]] == ["t2m_a", "77"]
    for task in (first, second):
        told = {name: task[name] for name in ("kind", "status", "client", "params", "metadata", "reference")}
        assert told == {
            "kind": "song.external",
            "status": "running",
            "client": "studio",
            "params": {},
            "metadata": {},
            "reference": None,
        }
        assert (await gateway.api.get(f"/v1/tasks/{task['id']}", headers=studio)).json() == task
        assert [entry["type"] for entry in await gateway.timeline(task["id"])] == ["adopted", "status"]
        lasts = datetime.fromisoformat(task["deadline_at"]) - datetime.fromisoformat(task["created_at"])
        assert lasts == timedelta(seconds=3600)
        assert_problem(await gateway.api.post(f"/v1/tasks/{task['id']}/retry", headers=studio), 409)
    rows = await db.rows("SELECT slot_until, dispatch_due_at FROM tasks")
    assert [(row["slot_until"], row["dispatch_due_at"]) for row in rows] == [(None, None)] * 2
    # A callback under the unbound token reaches it, and nobody else's task is made.
    assert (await gateway.call_back("song", done("t2m_a", title="A"))).text == "success"
    shown = (await gateway.api.get(f"/v1/tasks/{first['id']}", headers=studio)).json()
    assert (shown["status"], shown["items"][0]["title"], shown["client"]) == ("succeeded", "A", "studio")
    assert len(await db.rows("SELECT id FROM tasks")) == 2


async def test_what_a_client_has_already_is_told_again_and_not_touched(gateway: Running, db: Direct) -> None:
    studio = await client(gateway, "studio")
    [first] = await adopted(gateway, "t2m_a", client="studio")
    submitted = (
        await gateway.api.post(
            "/v1/tasks",
            json={"kind": "song.generate", "params": {"prompt": "x", "model": "m"}},
            headers=studio,
        )
    ).json()
    await gateway.call_back("song", song("t2m_own"), UUID(submitted["id"]))
    before = await db.everything()
    found = await adopted(gateway, "t2m_own", "t2m_a", "t2m_a", client="studio")
    assert [task["id"] for task in found] == [submitted["id"], first["id"], first["id"]]
    assert await db.everything() == before
    [new, old] = await adopted(gateway, "t2m_new", "t2m_a", client="studio")
    assert old == first
    assert new["id"] not in (first["id"], submitted["id"])


@pytest.mark.parametrize("status", ["running", "succeeded"])
async def test_what_only_a_callback_named_is_taken_over_with_its_state(gateway: Running, status: str) -> None:
    studio = await client(gateway, "studio")
    body = song("t2m_x", title="Early") if status == "running" else done("t2m_x", title="Early")
    assert (await gateway.call_back("song", body)).text == "success"
    external = (await gateway.api.get("/v1/items/t2m_x")).json()
    assert external["client"] == "external"
    [task] = await adopted(gateway, "t2m_x", client="studio")
    assert (task["id"], task["client"], task["status"]) == (external["id"], "studio", status)
    assert task["items"][0]["title"] == "Early"
    assert task["version"] > external["version"]
    assert (task["deadline_at"] > external["deadline_at"]) is (status == "running")
    assert [entry["type"] for entry in await gateway.timeline(task["id"])][-1] == "adopted"
    assert (await gateway.api.get("/v1/tasks", params={"client": "external"})).json()["data"] == []
    [listed] = (await gateway.api.get("/v1/tasks", headers=studio)).json()["data"]
    assert listed == task
    assert (await gateway.call_back("song", done("t2m_x", title="Late"))).text == "success"
    assert (await gateway.api.get("/v1/items/t2m_x", headers=studio)).json()["items"][0]["title"] == "Late"
    assert await adopted(gateway, "t2m_x", client="studio") == [await gateway.task(task["id"])]


async def test_another_clients_item_is_refused_by_name_and_nothing_is_adopted(gateway: Running, db: Direct) -> None:
    for name in ("studio", "radio"):
        await client(gateway, name)
    await adopted(gateway, "t2m_a", client="studio")
    own = await gateway.submit()
    await gateway.call_back("song", song("t2m_b"), UUID(own["id"]))
    await gateway.call_back("song", song("t2m_x"))
    before = await db.everything()
    problem = assert_problem(
        await adopt(gateway, "t2m_new", "t2m_a", "t2m_x", "t2m_b", client="radio"), 409, "conflict"
    )
    assert "t2m_a" in problem["detail"]
    assert "t2m_b" in problem["detail"]
    assert "t2m_new" not in problem["detail"]
    assert await db.everything() == before
    # The same id of another family is another item.
    assert [task["kind"] for task in await adopted(gateway, "t2m_a", family="stems", client="radio")] == [
        "stems.external"
    ]


async def test_only_an_admin_adopts_and_a_client_learns_nothing_of_an_item(gateway: Running, db: Direct) -> None:
    """Whether it is unknown, another client's or its own, for itself or for another."""
    studio = await client(gateway, "studio")
    await client(gateway, "radio")
    await adopted(gateway, "t2m_own", client="studio")
    await adopted(gateway, "t2m_theirs", client="radio")
    before = await db.everything()
    answers = [
        await adopt(gateway, item_id, client=name, **studio)
        for item_id in ("t2m_nobody", "t2m_own", "t2m_theirs")
        for name in (None, "studio", "radio", "nobody")
    ]
    for answer in answers:
        assert_problem(answer, 403, "forbidden")
    assert len({str(said(answer)) for answer in answers}) == 1
    assert await db.everything() == before


async def test_without_a_client_they_are_the_admins_own(gateway: Running) -> None:
    [task] = await adopted(gateway, "t2m_a")
    assert task["client"] == "bootstrap"


async def test_a_client_that_is_not_there_is_refused_by_the_field(gateway: Running, db: Direct) -> None:
    for made in ("studio", "gone"):
        await client(gateway, made)
    await gateway.api.delete("/v1/clients/gone")
    before = await db.everything()
    for name in ("nobody", "external", "", "gone", "Studio"):
        problem = assert_problem(await adopt(gateway, "t2m_a", client=name), 422, "invalid_request")
        assert ([fault["path"] for fault in problem["errors"]], name) == (["client"], name)
    assert await db.everything() == before


async def test_who_submitted_it_through_us_gets_it_all_the_same(gateway: Running) -> None:
    """An adoption names an item as weakly as an unbound token."""
    studio = await client(gateway, "studio")
    [stray] = await adopted(gateway, "t2m_1", client="studio")
    task = await gateway.submit()
    assert (await gateway.call_back("song", song("t2m_1"), UUID(task["id"]))).status_code == 200
    assert (await gateway.api.get("/v1/items/t2m_1")).json()["id"] == task["id"]
    assert_problem(await gateway.api.get(f"/v1/tasks/{stray['id']}", headers=studio), 404)
    assert_problem(await adopt(gateway, "t2m_1", client="studio"), 409)


async def test_many_at_once_adopt_each_item_once(gateway: Running, db: Direct) -> None:
    for name in ("studio", "radio"):
        await client(gateway, name)
    names = [f"t2m_{n}" for n in range(10)]
    answers = await asyncio.gather(*(adopt(gateway, *names, client="studio") for _ in range(6)))
    assert {answer.status_code for answer in answers} <= {202, 503}
    taken = [tuple(task["id"] for task in answer.json()["data"]) for answer in answers if answer.status_code == 202]
    assert len(set(taken)) == 1
    assert len(await db.rows("SELECT id FROM tasks")) == 10
    answers = await asyncio.gather(*(adopt(gateway, "t2m_z", client=who) for who in ("studio", "radio")))
    assert sorted(answer.status_code for answer in answers) == [202, 409]


async def test_a_finished_item_is_asked_about_soon_and_a_wrong_id_spoils_no_other(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """Its callback may have come and gone before it was adopted."""
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1}, unknown_items="refuse")
    gateway = await start_gateway(sandbox, query_first_after_s=10_000, query_rate_per_s=50, item_unknown_grace_s=1)
    task = await gateway.submit()
    known = (await gateway.until(task["id"], "running"))["items"][0]["item_id"]
    other = await gateway.submit()
    [own] = (await gateway.until(other["id"], "running"))["items"]
    await asyncio.sleep(1)
    assert all(work.ended_at <= sandbox.now() for work in sandbox.works)
    # As if it had been submitted elsewhere: the gateway forgets it.
    await _forget(gateway, known)
    good, bad = await adopted(gateway, known, "t2m_nobody")
    done_ = await gateway.until(good["id"], "succeeded")
    assert done_["items"][0]["artifacts"]["audio"]["status"] == "ready"
    failed = await gateway.until(bad["id"], "failed", timeout_s=40)
    assert failed["error"]["code"] == "item_unknown_to_vendor"
    assert own["item_id"] not in [one for call in sandbox.calls if call.operation == "query" for one in call.item_ids]


async def test_what_nobody_has_seen_yet_is_asked_about_apart_from_what_is_known(
    gateway: Running, clock: ScaledClock
) -> None:
    """At once; and a wrong id spoils no question about others."""
    await gateway.call_back("song", song("t2m_known"))
    await adopted(gateway, "t2m_a", "t2m_b")
    db = gateway.gateway.context.db
    now = clock.now()
    tomorrow, lease_end = now + timedelta(days=1), now + timedelta(days=9)
    due = [await db.write(claim_due, ClaimTimes(at, at, lease_end)) for at in (now, tomorrow)]
    assert [sorted(one.item_id for one in asked) for asked in due] == [["t2m_a", "t2m_b"], ["t2m_known"]]
    # Heard of, an item is asked about with the others.
    await adopted(gateway, "t2m_c")
    await gateway.call_back("song", {"songs": [song(f"t2m_{name}")["songs"][0] for name in "cd"]})
    together = await db.write(claim_due, ClaimTimes(tomorrow, tomorrow, lease_end))
    assert sorted(one.item_id for one in together) == ["t2m_c", "t2m_d"]


async def test_an_adopted_task_expires_and_an_expired_one_that_is_adopted_is_followed_anew(
    database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=1, callbacks={"drop": 1}, visible_after_s=10**6, unknown_items="omit")
    clock = ScaledClock()
    given: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "item_unknown_grace_s": 10**6,
        "query_first_after_s": 10_000,
    }
    async with running_gateway(database_url, clock=clock, **given) as gateway:
        [task] = await adopted(gateway, "t2m_a")
        await gateway.call_back("song", song("t2m_x"))
        external = (await gateway.api.get("/v1/items/t2m_x")).json()
        clock.skip(3601)
        await gateway.until(task["id"], "expired", timeout_s=30)
        expired = await gateway.until(external["id"], "expired", timeout_s=30)
        [again] = await adopted(gateway, "t2m_x")
        assert (again["id"], again["status"], again["error"]) == (external["id"], "running", None)
        assert again["deadline_at"] > expired["deadline_at"]
        assert again["version"] > expired["version"]
        clock.skip(3601)
        await gateway.until(task["id"], "expired", timeout_s=30)


NO_ITEMS = [
    {},
    {"family": "song"},
    {"family": "song", "item_ids": []},
    {"family": "song", "item_ids": "t2m_a"},
    {"family": "song", "item_ids": [""]},
    {"family": "song", "item_ids": ["x" * 201]},
    {"family": "song", "item_ids": [1.5]},
    {"family": "song", "item_ids": [True]},
    {"family": "song", "item_ids": [None]},
    {"family": "song", "item_ids": ["a\x00b"]},
    {"family": "song", "item_ids": [f"t2m_{n}" for n in range(51)]},
    {"family": "songs", "item_ids": ["t2m_a"]},
    {"family": 1, "item_ids": ["t2m_a"]},
    {"family": "song", "item_ids": ["t2m_a"], "client": 1},
    {"family": "song", "item_ids": ["t2m_a"], "client": "a\x00b"},
    {"family": "song", "item_ids": ["t2m_a"], "more": 1},
]


@on_sqlite
async def test_what_names_no_items_is_refused(gateway: Running, db: Direct) -> None:
    before = await db.everything()
    for body in NO_ITEMS:
        problem = assert_problem(await gateway.api.post("/v1/tasks/adopt", json=body), 422, "invalid_request")
        assert problem["errors"], body
    assert await db.everything() == before


@on_sqlite
async def test_fifty_ids_and_the_longest_are_taken(gateway: Running) -> None:
    names = ["x" * 200, "ü" * 200, "0", *(f"t2m_{n}" for n in range(47))]
    assert [task["items"][0]["item_id"] for task in await adopted(gateway, *names)] == names
    assert_problem(await adopt(gateway, "t2m_a", Authorization=""), 401)


async def _forget(gateway: Running, item_id: str) -> None:
    db = Direct(gateway.settings.database_url.get_secret_value())
    task = (await gateway.api.get(f"/v1/items/{item_id}")).json()
    await db.execute(
        f"DELETE FROM items WHERE item_id = '{item_id}'", f"DELETE FROM tasks WHERE id IN ({ids([task['id']])})"
    )
