"""Taking a task back before it is sent, and making a new one like one that has ended."""

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import SONG, Running, running_gateway
from tests.support.song_callbacks import assert_problem, done, said, song
from tests.support.start_fixtures import StartGateway, StartSandbox

NOBODY = "0192aaaa-0000-7000-8000-000000000000"


async def _do(gateway: Running, task_id: str, action: str, **headers: Any) -> httpx.Response:
    return await gateway.api.post(f"/v1/tasks/{task_id}/{action}", headers=headers)


async def _client(gateway: Running, name: str) -> dict[str, Any]:
    made = await gateway.api.post("/v1/clients", json={"name": name})
    return {"Authorization": f"Bearer {made.json()['api_key']}"}


async def test_a_queued_task_is_canceled_and_never_sent(database_url: str, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox()
    async with running_gateway(database_url, workers=False) as gateway:
        task, other = await gateway.submit(), await gateway.submit()
        answer = await _do(gateway, task["id"], "cancel")
        assert answer.status_code == 200
        canceled = answer.json()
        assert (canceled["id"], canceled["status"], canceled["error"]) == (task["id"], "canceled", None)
        assert canceled["version"] > task["version"]
        assert canceled["finished_at"] is not None
        assert await gateway.task(task["id"]) == canceled
        types = [entry["type"] for entry in await gateway.timeline(task["id"])]
        assert types == ["accepted", "canceled", "status"]
        assert_problem(await _do(gateway, task["id"], "cancel"), 409, "conflict")
        assert await gateway.task(task["id"]) == canceled
    async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as gateway:
        await gateway.until(other["id"], "running")
        await asyncio.sleep(0.3)
        assert (await gateway.task(task["id"]))["status"] == "canceled"
    assert len(sandbox.works) == 1


async def test_what_the_vendor_has_is_not_canceled_and_not_touched(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    assert (await gateway.call_back("song", song("t2m_1"), UUID(task["id"]))).status_code == 200
    for status, body in (("running", None), ("succeeded", done())):
        if body is not None:
            await gateway.call_back("song", body, UUID(task["id"]))
        before = await db.everything()
        assert (await gateway.task(task["id"]))["status"] == status
        assert_problem(await _do(gateway, task["id"], "cancel"), 409, "conflict")
        assert await db.everything() == before


async def test_a_sender_and_a_cancellation_at_the_same_moment(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """Each task is either canceled and never sent, or sent once and 409."""
    sandbox = await start_sandbox()
    gateway = await start_gateway(sandbox, submit_max_in_flight=1000)
    body = {"tasks": [{"kind": "lyrics.generate", "params": {"prompt": f"rain {n}"}} for n in range(60)]}
    tasks = (await gateway.api.post("/v1/tasks/batch", json=body)).json()["data"]
    answers = await asyncio.gather(*(_do(gateway, task["id"], "cancel") for task in reversed(tasks)))
    codes = {task["id"]: answer.status_code for task, answer in zip(reversed(tasks), answers, strict=True)}
    assert set(codes.values()) <= {200, 409}
    for task in tasks:
        if codes[task["id"]] == 409:
            await gateway.until(task["id"], "running", "main_succeeded", "succeeded", timeout_s=40)
        else:
            assert (await gateway.task(task["id"]))["status"] == "canceled"
    sent = sorted(work.params["prompt"] for work in sandbox.works)
    assert sent == sorted(task["params"]["prompt"] for task in tasks if codes[task["id"]] == 409)


@pytest.mark.parametrize("ending", ["succeeded", "canceled"])
async def test_an_ended_task_is_submitted_again_as_a_new_one(gateway: Running, ending: str) -> None:
    given: dict[str, Any] = {"reference": "order-17", "metadata": {"a": [1]}, "webhook_url": "https://hooks.example/t"}
    task = await gateway.submit(params={**SONG, "new_field": 1}, **given)
    if ending == "canceled":
        await _do(gateway, task["id"], "cancel")
    else:
        await gateway.call_back("song", done(), UUID(task["id"]))
    ended = await gateway.task(task["id"])
    assert ended["status"] == ending
    answer = await _do(gateway, task["id"], "retry")
    assert answer.status_code == 202
    new = answer.json()
    assert answer.headers["location"] == f"/v1/tasks/{new['id']}"
    assert new["id"] != task["id"]
    assert (new["status"], new["retry_of"], new["items"], new["version"]) == ("queued", task["id"], [], 1)
    for name in ("kind", "params", "client", *given):
        assert new[name] == task[name]
    assert await gateway.task(task["id"]) == ended
    # A task may be tried again more than once, and a new one that has ended as well.
    assert (await _do(gateway, task["id"], "retry")).json()["id"] not in (task["id"], new["id"])
    await _do(gateway, new["id"], "cancel")
    assert (await _do(gateway, new["id"], "retry")).json()["retry_of"] == new["id"]


async def test_a_task_that_has_not_ended_is_not_submitted_again(gateway: Running, db: Direct) -> None:
    task = await gateway.submit()
    for body in (None, song("t2m_1"), song("t2m_1", "main_succeeded")):
        if body is not None:
            await gateway.call_back("song", body, UUID(task["id"]))
        before = await db.everything()
        assert_problem(await _do(gateway, task["id"], "retry", **{"Idempotency-Key": "k"}), 409, "conflict")
        assert await db.everything() == before
    # A refusal is not remembered under the key.
    await gateway.call_back("song", done(), UUID(task["id"]))
    assert (await _do(gateway, task["id"], "retry", **{"Idempotency-Key": "k"})).status_code == 202


async def test_a_task_of_another_system_is_not_submitted_again(gateway: Running, db: Direct) -> None:
    await gateway.call_back("song", done("t2m_x"))
    external = (await gateway.api.get("/v1/items/t2m_x")).json()
    assert external["status"] == "succeeded"
    before = await db.everything()
    assert_problem(await _do(gateway, external["id"], "retry"), 409, "conflict")
    assert_problem(await _do(gateway, external["id"], "cancel"), 409, "conflict")
    assert await db.everything() == before


async def test_a_retry_is_made_once_for_each_idempotency_key(gateway: Running, db: Direct) -> None:
    first, second = await gateway.submit(), await gateway.submit()
    for task in (first, second):
        await _do(gateway, task["id"], "cancel")
    key = {"Idempotency-Key": "again"}
    answers = await asyncio.gather(*(_do(gateway, first["id"], "retry", **key) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(answer.headers.get("idempotent-replayed") == "true" for answer in answers) == 9
    assert_problem(await _do(gateway, second["id"], "retry", **key), 422, "idempotency_mismatch")
    # What was made stays made, also when a late callback has reopened the task.
    await gateway.call_back("song", song("t2m_late"), UUID(first["id"]))
    assert (await gateway.task(first["id"]))["status"] == "running"
    assert (await _do(gateway, first["id"], "retry", **key)).json()["id"] == answers[0].json()["id"]
    assert len(await db.rows("SELECT id FROM tasks")) == 3


@on_sqlite
async def test_only_a_tasks_client_and_admins_may_do_something_with_it(gateway: Running) -> None:
    studio, radio = await _client(gateway, "studio"), await _client(gateway, "radio")
    body = {"kind": "song.generate", "params": SONG}
    task = (await gateway.api.post("/v1/tasks", json=body, headers=studio)).json()
    for action in ("cancel", "retry"):
        assert_problem(await _do(gateway, task["id"], action, Authorization=""), 401)
        theirs = await _do(gateway, task["id"], action, **radio)
        assert said(assert_problem(theirs, 404)) == said(await _do(gateway, NOBODY, action, **radio))
        assert_problem(await _do(gateway, "no-id", action, **studio), 404)
    assert (await _do(gateway, task["id"], "cancel", **studio)).status_code == 200
    own = await _do(gateway, task["id"], "retry", **studio)
    assert own.json()["client"] == "studio"
    # An admin acts for the client: the new task is the client's, who sees it.
    by_admin = await _do(gateway, task["id"], "retry")
    assert (by_admin.status_code, by_admin.json()["client"]) == (202, "studio")
    assert (await gateway.api.get(f"/v1/tasks/{by_admin.json()['id']}", headers=studio)).status_code == 200
    assert (await _do(gateway, by_admin.json()["id"], "cancel")).status_code == 200
