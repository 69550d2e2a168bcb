"""Items that nobody submitted through us, and who owns an item; callbacks of tasks that had ended."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.sandbox.state import Sandbox
from app.sandbox.works import Work
from tests.support.direct_sql import Direct, ids
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.song_callbacks import assert_problem, done, logged, song
from tests.support.start_fixtures import StartGateway, StartSandbox


async def _item(gateway: Running, item_id: str, **headers: Any) -> httpx.Response:
    return await gateway.api.get(f"/v1/items/{item_id}", headers=headers)


async def _first_work(sandbox: Sandbox) -> Work:
    async def found() -> list[Work]:
        return sandbox.works.all

    return (await eventually(found))[0]


async def test_an_item_of_a_stranger_becomes_an_external_task_that_an_admin_reads(gateway: Running, db: Direct) -> None:
    made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
    body = {"songs": [*done("t2m_a", title="A")["songs"], *song("t2m_b")["songs"]]}
    assert (await gateway.call_back("song", body)).text == "success"
    answer = await _item(gateway, "t2m_a")
    assert answer.status_code == 200
    task = answer.json()
    told = {name: task[name] for name in ("kind", "status", "client", "reference", "metadata", "params", "retry_of")}
    assert told == {
        "kind": "song.external",
        "status": "succeeded",
        "client": "external",
        "reference": None,
        "metadata": {},
        "params": {},
        "retry_of": None,
    }
    assert (task["webhook_url"], task["error"]) == (None, None)
    assert task["version"] >= 1
    assert task["playable_at"] is not None
    # One per item; reconciled and expired like others, and not counted in flight.
    other = (await _item(gateway, "t2m_b")).json()
    assert other["id"] != task["id"]
    assert (other["status"], other["client"]) == ("running", "external")
    assert other["deadline_at"] is not None
    [row] = await db.rows("SELECT query_due_at FROM items WHERE item_id = 't2m_b'")
    assert row["query_due_at"] is not None
    [row] = await db.rows(f"SELECT slot_until FROM tasks WHERE id IN ({ids([other['id']])})")
    assert row["slot_until"] is None
    assert (await _item(gateway, "t2m_a", Authorization=f"Bearer {made['api_key']}")).status_code == 404
    listed = (await gateway.api.get("/v1/tasks", params={"client": "external"})).json()["data"]
    assert [one["id"] for one in listed] == [other["id"], task["id"]]
    # More of the same item stays in the same task.
    assert (await gateway.call_back("song", done("t2m_b"))).status_code == 200
    assert (await _item(gateway, "t2m_b")).json()["status"] == "succeeded"
    assert len((await gateway.api.get("/v1/tasks")).json()["data"]) == 2
    assert [one["task_id"] for one in await logged(gateway)] == [None, None]


async def test_families_do_not_mix(gateway: Running) -> None:
    assert (await gateway.call_back("song", song("77"))).status_code == 200
    body = {"lyrics": [{"item_id": "77", "status": "succeeded", "title": "Rain", "lyric": "drip"}]}
    assert (await gateway.call_back("lyrics", body)).status_code == 200
    kinds = {one["kind"]: one["status"] for one in (await gateway.api.get("/v1/tasks")).json()["data"]}
    assert kinds == {"song.external": "running", "lyrics.external": "succeeded"}


async def test_the_rightful_task_takes_its_item_over_with_its_state(gateway: Running) -> None:
    assert (await gateway.call_back("song", song("t2m_1", "main_succeeded", title="Early"))).status_code == 200
    external = (await _item(gateway, "t2m_1")).json()["id"]
    task = await gateway.submit()
    assert (await gateway.call_back("song", song("t2m_1", event="audio_complete"), UUID(task["id"]))).status_code == 200
    held = (await _item(gateway, "t2m_1")).json()
    assert (held["id"], held["client"]) == (task["id"], "bootstrap")
    assert (held["status"], held["items"][0]["title"]) == ("main_succeeded", "Early")
    assert (await gateway.api.get(f"/v1/tasks/{external}")).status_code == 404
    # The stranger does not get it back.
    before = await gateway.task(task["id"])
    assert_problem(await gateway.call_back("song", done("t2m_1", title="Mine!")), 403)
    assert await gateway.task(task["id"]) == before


@pytest.mark.parametrize("named_by", ["nobody", "another task"])
async def test_the_submissions_answer_takes_over_an_item_that_a_stranger_named(
    start_gateway: StartGateway, start_sandbox: StartSandbox, named_by: str
) -> None:
    sandbox = await start_sandbox(scale=0.1)
    sandbox.add_rules(answers=[{"operation": "submit", "prompt": "mine", "delay_s": 1}])
    gateway = await start_gateway(sandbox)
    task = await gateway.submit(params={"prompt": "mine", "model": "tempolor-latest"})
    [item_id] = (await _first_work(sandbox)).item_ids
    stranger = None
    if named_by == "another task":
        stranger = UUID((await gateway.submit(params={"prompt": "theirs", "model": "tempolor-latest"}))["id"])
    assert (await gateway.call_back("song", song(item_id, title="Stolen"), stranger)).status_code == 200
    thief = (await _item(gateway, item_id)).json()
    assert thief["id"] != task["id"]
    await gateway.until(task["id"], "running")
    assert (await _item(gateway, item_id)).json()["id"] == task["id"]
    if stranger is None:
        assert (await gateway.api.get(f"/v1/tasks/{thief['id']}")).status_code == 404
    else:
        assert item_id not in [item["item_id"] for item in (await gateway.task(str(stranger)))["items"]]
        assert_problem(await gateway.call_back("song", done(item_id), stranger), 403)


async def test_a_callback_of_a_queued_task_means_that_it_is_not_sent_any_more(
    database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox()
    async with running_gateway(database_url, workers=False) as gateway:
        named, other = [(await gateway.submit())["id"] for _ in range(2)]
        assert (await gateway.call_back("song", song("t2m_1"), UUID(named))).status_code == 200
        assert (await gateway.task(named))["status"] == "running"
        assert (await gateway.task(named))["submitted_at"] is not None
    async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as gateway:
        await gateway.until(other, "running")
        await asyncio.sleep(0.3)
        assert (await gateway.task(named))["items"][0]["item_id"] == "t2m_1"
    assert [work.callback_url for work in sandbox.works] == [sandbox.works.all[0].callback_url]


async def test_a_callback_settles_a_failed_task_and_flags_the_contradiction(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox()
    sandbox.add_rules(answers=[{"operation": "submit", "status": 400004, "message": "content violation"}])
    gateway = await start_gateway(sandbox)
    task = await gateway.submit()
    failed = await gateway.until(task["id"], "failed")
    assert (failed["error"]["vendor_status"], failed["error"]["retryable"]) == (400004, False)
    assert failed["error"]["vendor_request_id"]
    assert (await gateway.call_back("song", song("t2m_1"), UUID(task["id"]))).status_code == 200
    reopened = await gateway.task(task["id"])
    assert (reopened["status"], reopened["finished_at"], reopened["error"]) == ("running", None, None)
    assert reopened["version"] > failed["version"]
    assert "flag" in str(await gateway.timeline(task["id"]))
    assert (await gateway.call_back("song", done("t2m_1"), UUID(task["id"]))).status_code == 200
    assert (await gateway.task(task["id"]))["status"] == "succeeded"
    assert len(sandbox.works) == 0


async def test_a_callback_reopens_a_canceled_task_and_flags_it(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    values = "submission = 'canceled', status = 'canceled', dispatch_due_at = NULL, finished_at = created_at"
    await db.execute(f"UPDATE tasks SET {values} WHERE id IN ({ids([task['id']])})")
    assert (await gateway.task(task["id"]))["status"] == "canceled"
    assert (await gateway.call_back("song", song("t2m_1"), UUID(task["id"]))).status_code == 200
    reopened = await gateway.task(task["id"])
    assert (reopened["status"], reopened["finished_at"]) == ("running", None)
    assert "flag" in str(await gateway.timeline(task["id"]))


async def test_a_late_callback_settles_an_expired_task(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=1000, habits={"stuck": 1})
    gateway = await start_gateway(
        sandbox, task_deadline_s=0.5, query_first_after_s=0.2, query_interval_s=0.2, query_rate_per_s=50
    )
    task = await gateway.submit()
    expired = await gateway.until(task["id"], "expired")
    assert expired["error"]["code"] == "expired"
    item_id = expired["items"][0]["item_id"]
    assert (await gateway.call_back("song", done(item_id), UUID(task["id"]))).status_code == 200
    settled = await gateway.task(task["id"])
    assert (settled["status"], settled["error"]) == ("succeeded", None)
    assert settled["version"] > expired["version"]


async def test_a_bound_token_attaches_what_it_names_also_after_the_answer(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1)
    gateway = await start_gateway(sandbox)
    task = await gateway.submit()
    running = await gateway.until(task["id"], "running")
    assert (await gateway.call_back("song", song("t2m_extra"), UUID(task["id"]))).status_code == 200
    names = [item["item_id"] for item in (await gateway.task(task["id"]))["items"]]
    assert names == [running["items"][0]["item_id"], "t2m_extra"]
