"""A task's whole way is found in the log by its ids, of one process and of several."""

import json
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.chaos.processes import free_port
from tests.support.commands import Running, environment, running
from tests.support.databases import on_postgresql, on_sqlite
from tests.support.gateway import PARAMS, SONG, eventually
from tests.support.notifications import watching
from tests.support.receiver import OK, plain
from tests.support.start_fixtures import StartSandbox


@on_sqlite
async def test_the_logs_name_request_task_item_and_client(
    database_url: str, tmp_path: Path, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200, callbacks={"drop": 1})
    async with watching(OK) as receiver:
        settings = {"query_first_after_s": 0.2, "query_interval_s": 0.2, "query_rate_per_s": 20}
        env = environment(
            database_url,
            tempolor_base_url=sandbox.base_url,
            egress_allow_private="true",
            log_level="debug",
            **settings,
        )
        async with running("serve", env=env, cwd=tmp_path) as served:
            body = {"kind": "lyrics.generate", "params": PARAMS["lyrics.generate"], "webhook_url": receiver.url()}
            answer = await served.api.post("/v1/tasks", json=body, headers={"X-Request-ID": "order-17"})
            task_id = answer.json()["id"]

            async def told() -> Any:
                task = (await served.api.get(f"/v1/tasks/{task_id}")).json()
                return receiver.bodies and task["status"] == "succeeded" and task

            task = await eventually(told, timeout_s=60)
            await served.api.get(f"/v1/tasks/{task_id}", headers={"X-Request-ID": "look"})
            assert await served.terminate() == 0
            lines = served.lines()
    accepted = _one(lines, "task.accepted")
    assert (accepted["request_id"], accepted["client"], accepted["task_id"]) == ("order-17", "bootstrap", task_id)
    look = next(line for line in lines if line.get("request_id") == "look" and line["event"] == "request")
    assert (look["task_id"], look["client"], look["status"]) == (task_id, "bootstrap", 200)
    assert look["route"] == "/v1/tasks/{task_id}"
    submitted = _one(lines, "submit.accepted")
    item_ids = [item["item_id"] for item in task["items"]]
    assert (submitted["task_id"], submitted["client"], submitted["item_ids"]) == (task_id, "bootstrap", item_ids)
    queried = next(line for line in lines if line["event"] == "query.answered")
    assert queried["item_ids"] == item_ids
    # One task can be followed by its id alone.
    own = [line for line in lines if line.get("task_id") == task_id and line["level"] == "info"]
    events = [line["event"] for line in own]
    for event in ("task.accepted", "task.submitting", "task.submitted", "task.query", "task.notification"):
        assert event in events, events
    moves = [(line["was"], line["status"]) for line in own if "was" in line]
    assert moves[0] == ("queued", "submitting")
    assert moves[-1][1] == "succeeded"
    assert all(line["client"] == "bootstrap" for line in own)
    assert next(line for line in own if line["event"] == "task.query")["item_ids"] == item_ids
    # No request's id sticks to what is no part of it.
    assert "request_id" not in submitted
    assert "request_id" not in queried


@on_sqlite
async def test_a_task_that_an_admin_retries_is_logged_as_its_clients(database_url: str, tmp_path: Path) -> None:
    async with running("serve", "--workers-off", env=environment(database_url), cwd=tmp_path) as served:
        key = (await served.api.post("/v1/clients", json={"name": "studio"})).json()["api_key"]
        body = {"kind": "song.generate", "params": SONG}
        made = await served.api.post("/v1/tasks", json=body, headers={"Authorization": f"Bearer {key}"})
        for action in ("cancel", "retry"):
            assert (await served.api.post(f"/v1/tasks/{made.json()['id']}/{action}")).is_success
        lines = served.lines()
    assert [line["client"] for line in lines if line["event"] == "task.accepted"] == ["studio", "studio"]


@on_postgresql
async def test_one_task_is_followed_by_its_id_over_the_logs_of_four_processes(
    database_url: str, tmp_path: Path, start_sandbox: StartSandbox
) -> None:
    """Accepted by one server, called back to the other, sent and notified by one of two workers."""
    sandbox, port = await start_sandbox(scale=100), free_port()
    async with watching(plain("503 Busy", "Retry-After: 1"), OK) as receiver, AsyncExitStack() as processes:
        env = environment(
            database_url,
            tempolor_base_url=sandbox.base_url,
            public_url=f"http://127.0.0.1:{port}",
            egress_allow_private="true",
            log_level="debug",
        )

        async def start(*arguments: str) -> Running:
            return await processes.enter_async_context(running(*arguments, env=env, cwd=tmp_path))

        serve = ("serve", "--workers-off")
        front, called = await start(*serve), await start(*serve, "--port", str(port))
        workers = [await start("worker"), await start("worker")]
        body = {"kind": "song.generate", "params": SONG}
        # Others are on their way beside it.
        await front.api.post("/v1/tasks/batch", json={"tasks": [body] * 4})
        body["webhook_url"] = receiver.url()
        answer = await front.api.post("/v1/tasks", json=body, headers={"X-Request-ID": "order-2"})
        task_id = answer.json()["id"]

        async def notified() -> Any:
            own = (await front.api.get("/v1/notifications", params={"task_id": task_id})).json()["data"]
            return {one["status"] for one in own} == {"delivered"} and "task.succeeded" in {one["type"] for one in own}

        await eventually(notified, timeout_s=60, every_s=0.2)
        timeline = (await front.api.get(f"/v1/tasks/{task_id}/timeline", params={"limit": 200})).json()["data"]
        item_ids = [item["item_id"] for item in (await front.api.get(f"/v1/tasks/{task_id}")).json()["items"]]
        for process in (front, called, *workers):
            assert await process.terminate() == 0
    found = {process: _grep(process, task_id) for process in (front, called, *workers)}
    lines = sorted((line for own in found.values() for line in own), key=lambda line: line["timestamp"])
    steps = [line for line in lines if line["level"] == "info" and line["event"].startswith("task.")]
    # Each entry of the timeline is a line, and each line tells what its entry does. A change of status is told by the
    # line of what caused it.
    told = Counter(line["event"].removeprefix("task.") for line in steps if line["event"] != "task.changed")
    assert told == Counter(entry["type"] for entry in timeline if entry["type"] != "status")
    assert told.keys() == {"accepted", "submitting", "submitted", "callback", "notification"}
    moves = [{"from": line["was"], "to": line["status"]} for line in steps if "was" in line]
    assert moves == _details(timeline, "status")
    assert [move["to"] for move in moves] == ["submitting", "running", "main_succeeded", "succeeded"]
    for type_, names in {
        "submitting": ("attempt",),
        "callback": ("callback_id",),
        "notification": ("notification_id", "notification", "outcome", "attempts"),
    }.items():
        own = [{name: line[name] for name in names} for line in steps if line["event"] == f"task.{type_}"]
        # Notifications that different processes deliver at once may be logged in another order.
        assert sorted(own, key=str) == sorted(
            ({name: detail[name] for name in names} for detail in _details(timeline, type_)), key=str
        )
    assert {line["client"] for line in steps} == {"bootstrap"}
    assert {tuple(line["item_ids"]) for line in steps if line["event"] == "task.callback"} == {tuple(item_ids)}
    # Each stands in the log of the process that did it.
    assert {line["event"] for line in found[front] if line in steps} == {"task.accepted"}
    assert {line["event"] for line in found[called] if line in steps} == {"task.callback"}
    # The request that brought it is found by its own id, and so are the attempts that failed.
    [accepted] = [line for line in steps if line["event"] == "task.accepted"]
    assert accepted["request_id"] == "order-2"
    [request] = [line for line in _grep(front, "order-2") if line["event"] == "request"]
    assert (request["method"], request["route"], request["status"]) == ("POST", "/v1/tasks", 202)
    [failed] = [line for line in lines if line["event"] == "notification.failed"]
    assert (failed["status"], failed["attempts"]) == (503, 1)
    assert max(detail["attempts"] for detail in _details(timeline, "notification")) == 2


def _grep(process: Running, text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.log.read_text().splitlines() if text in line]


def _details(timeline: list[dict[str, Any]], type_: str) -> list[Any]:
    return [entry["detail"] for entry in timeline if entry["type"] == type_]


def _one(lines: list[dict[str, Any]], event: str) -> Any:
    [found] = [line for line in lines if line["event"] == event]
    assert json.dumps(found)
    return found
