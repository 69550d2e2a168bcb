"""Submissions held, released and looked at: by HTTP and by command, over restarts, for all processes."""

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.support.commands import call, environment
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, eventually
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway, StartSandbox


def sent(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "submit"]


async def post(gateway: Running, what: str, body: dict[str, str] | None = None) -> Any:
    answer = await gateway.api.post(f"/v1/submissions/{what}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def show(gateway: Running) -> Any:
    answer = await gateway.api.get("/v1/submissions")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def why(gateway: Running) -> Any:
    return (await show(gateway))["standing_still"]["submissions"]


async def until_why(gateway: Running, reason: str) -> Any:
    async def held() -> Any:
        found = await why(gateway)
        return found if found is not None and found["reason"] == reason else None

    return await eventually(held, 5)


async def test_what_is_held_is_not_sent_over_a_restart_until_it_is_released(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200)
    first = await start_gateway(sandbox)
    held = await post(first, "hold", {"reason": "vendor maintenance"})
    assert held["standing_still"]["submissions"]["detail"] == "vendor maintenance"
    task = await first.submit()
    await first.gateway.stop()
    second = await start_gateway(sandbox)
    await asyncio.sleep(0.5)
    assert (sent(sandbox), (await second.task(task["id"]))["status"]) == ([], "queued")
    backlog = await second.api.get("/backlog")
    assert backlog.json()["standing_still"]["submit"]["reason"] == "held_by_hand"
    assert (await post(second, "release"))["standing_still"]["submissions"] is None
    await second.until(task["id"], "succeeded")
    acts = (await second.api.get("/v1/audit")).json()["data"]
    assert [(one["action"], one["detail"]) for one in acts] == [
        ("submissions.release", {"was": ["held_by_hand"]}),
        ("submissions.hold", {"reason": "vendor maintenance"}),
    ]


async def test_a_refusal_on_its_way_does_not_end_it_and_is_there_when_it_is_released(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=60)
    sandbox.add_rules(answers=[{"operation": "submit", "delay_s": 1, "status": 400005, "times": 1}])
    gateway = await start_gateway(sandbox)
    task = await gateway.submit()
    await gateway.until(task["id"], "submitting")
    await post(gateway, "hold")
    await gateway.until(task["id"], "queued")
    found = await why(gateway)
    assert (found["reason"], found["underneath"]["reason"]) == ("held_by_hand", "insufficient_points")
    await post(gateway, "release")
    assert (await why(gateway))["reason"] == "insufficient_points"


async def test_neither_a_callback_nor_an_acceptance_ends_it(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=60)
    sandbox.add_rules(answers=[{"operation": "submit", "delay_s": 1}])
    gateway = await start_gateway(sandbox)
    task = await gateway.submit()
    await gateway.until(task["id"], "submitting")
    await post(gateway, "hold")
    waits = await gateway.submit()
    # What was claimed before is sent, accepted, called back and ended.
    await gateway.until(task["id"], "succeeded")
    await asyncio.sleep(0.3)
    assert (await gateway.task(waits["id"]))["status"] == "queued"
    assert (await why(gateway))["reason"] == "held_by_hand"
    assert len(sent(sandbox)) == 1


async def test_the_vendors_reason_underneath_is_not_probed_and_comes_back(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200)
    sandbox.add_rules(answers=[{"operation": "submit", "status": 400005, "times": 2}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock)
    task = await gateway.submit()
    await until_why(gateway, "insufficient_points")
    held = await post(gateway, "hold")
    assert held["standing_still"]["submissions"]["underneath"]["reason"] == "insufficient_points"
    clock.skip(100)
    await asyncio.sleep(0.5)
    assert len(sent(sandbox)) == 1, "no probe while a hand holds"
    found = await post(gateway, "release")
    assert found["standing_still"]["submissions"]["reason"] == "insufficient_points"

    async def probed() -> bool:
        return len(sent(sandbox)) == 2

    # The probe that has been due meanwhile is made, and meets the same.
    await eventually(probed, 3)
    await asyncio.sleep(0.3)
    assert (await why(gateway))["reason"] == "insufficient_points"
    # Released without a hand: the next probe is due now, not in 30 s.
    await post(gateway, "release")
    await gateway.until(task["id"], "succeeded", timeout_s=5)
    assert await why(gateway) is None


async def test_a_release_asks_at_once_also_where_queries_stand_still(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "query", "status": 400002, "times": 1}])
    gateway = await start_gateway(sandbox, query_first_after_s=0.1, query_interval_s=0.1)
    task = await gateway.submit()
    await until_why(gateway, "vendor_key_rejected")
    found = await show(gateway)
    assert found["standing_still"]["queries"]["reason"] == "vendor_key_rejected"
    assert found["standing_still"]["queries"]["next_probe_at"] is not None
    await post(gateway, "release")
    await gateway.until(task["id"], "succeeded", timeout_s=5)


async def test_who_holds_each_slot_and_who_waits(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=1)
    sandbox.add_rules(answers=[{"operation": "submit", "times": 1}, {"operation": "submit", "reset": True}])
    gateway = await start_gateway(sandbox, submit_max_in_flight=2)
    key = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()["api_key"]
    running, lost = await gateway.submit(), await gateway.submit()
    await gateway.until(running["id"], "running")
    await gateway.until(lost["id"], "unconfirmed")
    headers = {"Authorization": f"Bearer {key}"}
    body = {"kind": "song.generate", "params": running["params"]}
    for _ in range(3):
        await gateway.api.post("/v1/tasks", json=body, headers=headers)
    await gateway.submit()
    found = await show(gateway)
    assert (found["max_in_flight"], found["in_flight"]) == (2, 2)
    slots = {one["task_id"]: one for one in found["slots"]}
    assert {task_id: one["status"] for task_id, one in slots.items()} == {
        running["id"]: "running",
        lost["id"]: "unconfirmed",
    }
    assert slots[running["id"]]["until"] is None
    since, until = (datetime.fromisoformat(slots[lost["id"]][name]) for name in ("since", "until"))
    assert (until - since).total_seconds() == pytest.approx(120)
    assert [(one["client"], one["count"]) for one in found["waiting"]] == [("bootstrap", 1), ("studio", 3)]
    assert all(0 <= one["oldest_age_s"] < 30 for one in found["waiting"])
    assert found["standing_still"] == {"submissions": None, "queries": None}
    document = (await gateway.api.get("/openapi.json")).json()["components"]["schemas"]
    assert found.keys() == document["Submissions"]["properties"].keys()
    assert found["slots"][0].keys() == document["Slot"]["properties"].keys()


async def test_they_are_an_admins_and_the_body_is_checked(gateway: Running) -> None:
    key = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()["api_key"]
    for headers, status in (({"Authorization": f"Bearer {key}"}, 403), ({"Authorization": ""}, 401)):
        assert (await gateway.api.get("/v1/submissions", headers=headers)).status_code == status
        for what in ("hold", "release", "recover"):
            answer = await gateway.api.post(f"/v1/submissions/{what}", json={}, headers=headers)
            assert answer.status_code == status
    bad: list[Any] = [{"reason": 7}, {"reason": "x" * 501}, {"reason": "two\nlines"}, {"why": "x"}, [], "x"]
    for body in bad:
        assert_problem(await gateway.api.post("/v1/submissions/hold", json=body), 422)
    assert await why(gateway) is None
    assert (await gateway.api.post("/v1/submissions/hold")).status_code == 200
    assert (await why(gateway))["detail"] is None


async def test_commands_reach_a_running_server_within_its_idle_time(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str
) -> None:
    sandbox = await start_sandbox(scale=200)
    gateway = await start_gateway(sandbox, loop_idle_s=0.5)
    env = environment(database_url)
    held = await call("submissions", "hold", "--reason", "by command", env=env)
    assert held.code == 0, held.err
    task = await gateway.submit()
    await asyncio.sleep(1)
    assert sent(sandbox) == []
    shown = await call("submissions", "show", env=env)
    found = json.loads(shown.out)
    assert found["standing_still"]["submissions"]["detail"] == "by command"
    assert [one["count"] for one in found["waiting"]] == [1]
    assert (await call("submissions", "release", env=env)).code == 0
    await gateway.until(task["id"], "running", "main_succeeded", "succeeded", timeout_s=5)
