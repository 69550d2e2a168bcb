"""A task's whole way is found in a process's log by its ids."""

import json
from pathlib import Path
from typing import Any

from tests.support.commands import environment, running
from tests.support.databases import on_sqlite
from tests.support.gateway import PARAMS, eventually
from tests.support.notifications import watching
from tests.support.receiver import OK
from tests.support.starting import StartSandbox


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


def _one(lines: list[dict[str, Any]], event: str) -> Any:
    [found] = [line for line in lines if line["event"] == event]
    assert json.dumps(found)
    return found
