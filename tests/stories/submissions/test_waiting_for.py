"""A queued task says why it waits, and until when; what is shown together is read together."""

from datetime import datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from app.documents.document import documents
from app.tasks import task_rows
from app.tasks.task_rows import TaskFilters
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.watching import sent_statements

REFUSED = [
    ({"status": 400002}, "vendor_key_rejected"),
    ({"status": 400007}, "vendor_queue_full"),
    ({"http_status": 429, "retry_after_s": 20}, "vendor_rate_limited"),
    ({"status": 400001, "retry_after_s": 20}, "backing_off"),
]


async def waits(gateway: Running, task_id: str) -> Any:
    task = await gateway.task(task_id)
    return task["waiting_for"] if task["status"] == "queued" else None


@pytest.mark.parametrize(("answer", "reason"), REFUSED, ids=str)
async def test_what_the_vendor_refuses_for_a_while_is_told_with_its_time(
    start_gateway: StartGateway, start_sandbox: StartSandbox, answer: dict[str, int], reason: str
) -> None:
    sandbox = await start_sandbox(scale=2000)
    sandbox.add_rules(answers=[{"operation": "submit", "times": None} | answer])
    gateway = await start_gateway(sandbox, submit_max_in_flight=1)
    task = await gateway.submit()
    found = await eventually(partial(waits, gateway, task["id"]))
    assert found["reason"] == reason
    assert found.keys() == {"reason", "since", "until"}
    since, until = (datetime.fromisoformat(found[name]) for name in ("since", "until"))
    assert 0 < (until - since).total_seconds() <= 40
    [listed] = (await gateway.api.get("/v1/tasks", params={"status": "queued"})).json()["data"]
    assert listed["waiting_for"]["reason"] == reason
    later = await gateway.submit()
    # What holds everybody is told at once; a back-off is a task's own.
    assert (later["waiting_for"] or {}).get("reason") == (None if reason == "backing_off" else reason)


async def test_lost_answers_in_a_row_are_told(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=1, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "submit", "reset": True, "accept": False, "times": None}])
    gateway = await start_gateway(sandbox, submit_max_in_flight=3)
    last = [await gateway.submit() for _ in range(5)][-1]
    assert (await eventually(partial(waits, gateway, last["id"])))["reason"] == "outcomes_unknown"


async def test_a_task_that_waits_for_its_turn_or_is_not_queued_waits_for_nothing(
    database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000)
    async with running_gateway(database_url, workers=False) as gateway:
        task = await gateway.submit()
        assert task["waiting_for"] is None
        assert (await gateway.task(task["id"]))["waiting_for"] is None
        canceled = await gateway.submit()
        await gateway.api.post("/v1/submissions/hold")
        assert (await gateway.api.post(f"/v1/tasks/{canceled['id']}/cancel")).json()["waiting_for"] is None
        await gateway.api.post("/v1/submissions/release")
    async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as gateway:
        assert (await gateway.until(task["id"], "succeeded"))["waiting_for"] is None


async def test_a_list_reads_what_is_held_once(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=False)
    await gateway.api.post("/v1/submissions/hold")
    for _ in range(30):
        await gateway.submit()
    context = gateway.gateway.context

    def statements(conn: sa.Connection, limit: int) -> int:
        records = task_rows.list_page(conn, TaskFilters(), limit)
        with sent_statements(conn) as seen:
            shown = documents(conn, records, context)
        assert [one["waiting_for"]["reason"] for one in shown] == ["held_by_hand"] * limit
        return len(seen)

    assert await context.db.read(statements, 30) == await context.db.read(statements, 1)
