"""An unconfirmed task is settled by hand: the item is bound and asked about, or the task is sent again."""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.support.commands import call, environment
from tests.support.direct_sql import Direct
from tests.support.gateway import Running, eventually
from tests.support.song_callbacks import assert_problem, song
from tests.support.start_fixtures import StartGateway, StartSandbox

NOTHING = "0192aaaa-0000-7000-8000-000000000000"


def sent(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "submit"]


async def resolve(gateway: Any, task_id: str, **body: Any) -> Any:
    return await gateway.api.post(f"/v1/tasks/{task_id}/resolve", json=body)


@pytest.fixture
async def lost(start_gateway: StartGateway, start_sandbox: StartSandbox) -> Callable[..., Awaitable[Any]]:
    """A sandbox that takes the first submission, resets the connection and never calls back; a gateway; the task."""

    async def make(accept: bool | None = True, **given: Any) -> tuple[Sandbox, Running, Any]:
        sandbox = await start_sandbox(scale=600, callbacks={"drop": 1})
        sandbox.add_rules(answers=[{"operation": "submit", "reset": True, "accept": accept, "times": 1}])
        gateway = await start_gateway(sandbox, **given)
        task = await gateway.submit()
        await gateway.until(task["id"], "unconfirmed", "failed")
        return sandbox, gateway, task["id"]

    return make


async def test_the_item_that_was_found_is_bound_and_asked_about_at_once(lost: Callable[..., Awaitable[Any]]) -> None:
    sandbox, gateway, task_id = await lost()
    [work] = sandbox.works
    answer = await resolve(gateway, task_id, item_id=work.item_ids[0])
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] in ("running", "main_succeeded", "succeeded")
    # Within seconds, though the first question about an item is due after 240 s.
    done = await gateway.until(task_id, "succeeded", timeout_s=30)
    assert [item["item_id"] for item in done["items"]] == [work.item_ids[0]]
    assert len(sent(sandbox)) == 1
    [entry] = [one for one in await gateway.timeline(task_id) if one["type"] == "resolved"]
    assert entry["detail"]["item_ids"] == [work.item_ids[0]]
    [act] = (await gateway.api.get("/v1/audit")).json()["data"]
    assert (act["action"], act["target"], act["detail"]) == ("tasks.resolve", task_id, {"item_id": work.item_ids[0]})


async def test_a_task_that_was_given_up_can_still_be_found_but_not_sent_again(
    lost: Callable[..., Awaitable[Any]],
) -> None:
    sandbox, gateway, task_id = await lost(submit_confirm_s=0.2)
    failed = await gateway.until(task_id, "failed")
    problem = assert_problem(await resolve(gateway, task_id, not_sent=True), 409, "conflict")
    assert "retry" in problem["detail"]
    [work] = sandbox.works
    found = (await resolve(gateway, task_id, item_id=work.item_ids[0])).json()
    assert found["error"] is None
    assert found["version"] > failed["version"]
    await gateway.until(task_id, "succeeded", timeout_s=30)
    assert len(sent(sandbox)) == 1


async def test_what_was_not_sent_is_sent_again(lost: Callable[..., Awaitable[Any]]) -> None:
    sandbox, gateway, task_id = await lost(accept=False, query_first_after_s=0.2, query_interval_s=0.2)
    before = await gateway.task(task_id)
    await gateway.api.post("/v1/submissions/hold")
    queued = await resolve(gateway, task_id, not_sent=True)
    assert (queued.status_code, queued.json()["status"]) == (200, "queued")
    assert queued.json()["version"] > before["version"]
    assert queued.json()["deadline_at"] is None
    await gateway.api.post("/v1/submissions/release")
    await gateway.until(task_id, "succeeded", timeout_s=30)
    assert len(sent(sandbox)) == 2
    types = [one["type"] for one in await gateway.timeline(task_id)]
    assert [one for one in types if one in ("submitting", "outcome_unknown", "resolved", "submitted")] == [
        "submitting",
        "outcome_unknown",
        "resolved",
        "submitting",
        "submitted",
    ]


async def test_an_outcome_found_out_counts_no_more_among_the_unknown_ones(
    lost: Callable[..., Awaitable[Any]], db: Direct
) -> None:
    _, gateway, task_id = await lost(accept=False)
    await gateway.api.post("/v1/submissions/hold")

    async def unknown() -> Any:
        [row] = await db.rows("SELECT state FROM limits WHERE name = 'submit'")
        state = row["state"] if isinstance(row["state"], dict) else json.loads(row["state"])
        return state["unknown_tasks"]

    assert await unknown() == [task_id]
    await resolve(gateway, task_id, not_sent=True)
    assert await unknown() == []


async def test_a_callback_that_named_an_item_meanwhile_wins(lost: Callable[..., Awaitable[Any]]) -> None:
    _, gateway, task_id = await lost()
    await gateway.call_back("song", song("t2m_named"), uuid.UUID(task_id))
    for body in ({"item_id": "t2m_other"}, {"item_id": "t2m_named"}, {"not_sent": True}):
        assert_problem(await resolve(gateway, task_id, **body), 409, "conflict")
    assert [item["item_id"] for item in (await gateway.task(task_id))["items"]] == ["t2m_named"]
    assert (await gateway.api.get("/v1/audit")).json()["data"] == []


async def test_an_item_of_another_submission_is_not_taken(lost: Callable[..., Awaitable[Any]]) -> None:
    _, gateway, task_id = await lost()
    other = await gateway.submit()
    await gateway.call_back("song", song("t2m_theirs"), uuid.UUID(other["id"]))
    assert_problem(await resolve(gateway, task_id, item_id="t2m_theirs"), 409, "conflict")
    assert (await gateway.task(task_id))["status"] == "unconfirmed"
    assert "t2m_theirs" in [item["item_id"] for item in (await gateway.task(other["id"]))["items"]]
    # One that only an unbound callback named so far is.
    await gateway.call_back("song", song("t2m_stray"))
    assert (await resolve(gateway, task_id, item_id="t2m_stray")).status_code == 200
    assert [item["item_id"] for item in (await gateway.task(task_id))["items"]] == ["t2m_stray"]


async def test_only_an_unknown_outcome_is_settled_and_the_body_is_checked(gateway: Running) -> None:
    queued, canceled, running = [(await gateway.submit())["id"] for _ in range(3)]
    await gateway.api.post(f"/v1/tasks/{canceled}/cancel")
    await gateway.call_back("song", song("t2m_1"), uuid.UUID(running))
    ways: tuple[dict[str, Any], ...] = ({"item_id": "t2m_9"}, {"not_sent": True})
    for task_id in (queued, canceled, running):
        for body in ways:
            assert_problem(await resolve(gateway, task_id, **body), 409, "conflict")
    assert_problem(await resolve(gateway, NOTHING, not_sent=True), 404, "not_found")
    bad: tuple[dict[str, Any], ...] = (
        {},
        {"item_id": "x", "not_sent": True},
        {"not_sent": False},
        {"item_id": ""},
        {"item_id": "x" * 201},
    )
    for body in (*bad, {"item_id": "a\nb"}, {"not_sent": 1}, {"item_id": None}, {"other": 1}):
        assert_problem(await resolve(gateway, queued, **body), 422)
    key = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()["api_key"]
    headers = {"Authorization": f"Bearer {key}"}
    answer = await gateway.api.post(f"/v1/tasks/{queued}/resolve", json={"not_sent": True}, headers=headers)
    assert_problem(answer, 403, "forbidden")


async def test_by_command(lost: Callable[..., Awaitable[Any]], database_url: str) -> None:
    sandbox, gateway, task_id = await lost()
    env = environment(database_url)
    for arguments in ((), ("--item", "x", "--not-sent")):
        assert (await call("tasks", "resolve", task_id, *arguments, env=env)).code == 1
    [work] = sandbox.works
    done = await call("tasks", "resolve", task_id, "--item", work.item_ids[0], env=env)
    assert done.code == 0, done.err
    await gateway.until(task_id, "succeeded", timeout_s=30)
    again = await call("tasks", "resolve", task_id, "--not-sent", env=env)
    assert again.code == 1
    assert "Traceback" not in again.err

    async def recorded() -> Any:
        return (await gateway.api.get("/v1/audit")).json()["data"]

    [act] = await eventually(recorded, 1)
    assert act["actor"].startswith("cli:")
