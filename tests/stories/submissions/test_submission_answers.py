"""What each answer to a submission means: fail, wait, try again, never twice."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.support.gateway import Running, eventually
from tests.support.start_fixtures import StartGateway, StartSandbox

PERMANENT = {
    400003: "bad_parameter",
    400004: "content_violation",
    400008: "work_not_found",
    400009: "work_status_abnormal",
    400010: "model_not_offered",
    400011: "work_not_extendable",
    499999: "vendor_refused",
}


def submissions(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "submit"]


async def test_a_permanent_code_fails_at_once_with_the_vendors_words(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200)
    gateway = await start_gateway(sandbox)
    for sent, (status, code) in enumerate(PERMANENT.items(), start=1):
        sandbox.add_rules(answers=[{"operation": "submit", "status": status, "message": "no, thank you"}])
        task = await gateway.submit()
        failed = await gateway.until(task["id"], "failed")
        assert failed["error"] == {
            "code": code,
            "message": "no, thank you",
            "vendor_status": status,
            "vendor_request_id": submissions(sandbox)[-1].request_id,
            "retryable": False,
        }
        assert len(submissions(sandbox)) == sent
        assert failed["finished_at"] is not None


PASSING = [
    {"status": 400001},
    {"status": 400006},
    {"http_status": 429, "retry_after_s": 1},
    {"status": 400006, "retry_after_s": 1},
    {"http_status": 429},
]


async def test_a_passing_refusal_is_tried_again_with_a_pause(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200)
    gateway = await start_gateway(sandbox)
    for done, answer in enumerate(PASSING, start=1):
        sandbox.add_rules(answers=[{"operation": "submit"} | answer])
        task = await gateway.submit("lyrics.generate")
        await gateway.until(task["id"], "succeeded")
        assert len(submissions(sandbox)) == 2 * done
        first, second = submissions(sandbox)[-2:]
        assert second.at - first.at >= answer.get("retry_after_s", 2), answer
        assert len(sandbox.works) == done
        assert [one["type"] for one in await gateway.timeline(task["id"])].count("refused") == 1


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        ({"status": 400002}, 30),
        ({"status": 400007}, 5),
        ({"http_status": 429, "retry_after_s": 40}, 40),
        ({"status": 400006, "retry_after_s": 40}, 40),
    ],
    ids=str,
)
async def test_the_timeline_says_when_a_refused_task_is_tried_again(
    start_gateway: StartGateway, start_sandbox: StartSandbox, answer: dict[str, int], wait_s: int
) -> None:
    sandbox = await start_sandbox(scale=200)
    sandbox.add_rules(answers=[{"operation": "submit", "times": None} | answer])
    gateway = await start_gateway(sandbox)
    task = await gateway.submit()
    [refused] = [one for one in await _until_entry(gateway, task["id"], "refused") if one["type"] == "refused"]
    again_at = refused["detail"]["again_at"]
    assert again_at.endswith("Z")
    waited = datetime.fromisoformat(again_at) - datetime.fromisoformat(refused["at"])
    assert timedelta(seconds=wait_s - 1) <= waited <= timedelta(seconds=wait_s + 1)


async def test_a_vendor_that_cannot_be_reached_is_tried_again(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    gateway = await start_gateway(tempolor_base_url="http://127.0.0.1:9")
    task = await gateway.submit()

    async def refused_twice() -> list[dict[str, Any]] | None:
        found = [one for one in await gateway.timeline(task["id"]) if one["type"] == "refused"]
        return found if len(found) >= 2 else None

    found = await eventually(refused_twice)
    assert {one["detail"]["code"] for one in found} == {"vendor_unreachable"}
    # Queued, or sent once more by now.
    assert (await gateway.task(task["id"]))["status"] in ("queued", "submitting")


async def test_a_full_queue_waits_for_a_slot_and_fails_nobody(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=20, parallel_limit=2)
    gateway = await start_gateway(sandbox)
    tasks = [await gateway.submit("lyrics.generate") for _ in range(6)]
    for task in tasks:
        await gateway.until(task["id"], "succeeded", timeout_s=40)
    refused = [call for call in submissions(sandbox) if call.status == 400007]
    assert refused
    # While it stood still, only probes went out: far fewer refusals than tasks times turns of the loop.
    assert len(refused) <= 12
    assert sandbox.works.max_in_flight == 2


@pytest.mark.parametrize("limit", [1, 3])
async def test_tasks_in_flight_stay_under_the_limit(
    start_gateway: StartGateway, start_sandbox: StartSandbox, limit: int
) -> None:
    sandbox = await start_sandbox(scale=200)
    first = await start_gateway(sandbox, submit_max_in_flight=limit)
    tasks = [await first.submit("lyrics.generate") for _ in range(6)]
    for task in tasks:
        await first.until(task["id"], "succeeded", timeout_s=40)
    assert sandbox.works.max_in_flight == limit


async def test_several_items_of_one_task_end_together(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=200, items_per_submission=3)
    sandbox.add_rules(works=[{"outcome": "succeeded"}])
    gateway = await start_gateway(sandbox)
    task = await gateway.submit()
    done = await gateway.until(task["id"], "succeeded")
    assert [item["item_id"] for item in done["items"]] == list(next(iter(sandbox.works)).item_ids)
    assert {item["status"] for item in done["items"]} == {"succeeded"}


OUTCOMES = [("failed", "failed", False), ("part_failed_wav", "part_failed", True), ("part_failed", "part_failed", True)]


async def test_part_failed_is_a_usable_success_and_failed_is_not(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200)
    gateway = await start_gateway(sandbox)
    for outcome, status, usable in OUTCOMES:
        sandbox.add_rules(works=[{"outcome": outcome}])
        task = await gateway.submit()
        done = await gateway.until(task["id"], "failed", "part_failed", "succeeded")
        assert done["status"] == status
        audio = done["items"][0]["artifacts"]["audio"]
        assert (audio["status"] == "ready") is usable
        assert (done["playable_at"] is not None) is usable
        assert (done["error"] is None) is usable


async def _until_entry(gateway: Running, task_id: str, entry_type: str) -> Any:
    async def found() -> list[dict[str, Any]] | None:
        entries = await gateway.timeline(task_id)
        return entries if any(one["type"] == entry_type for one in entries) else None

    return await eventually(found)


async def test_what_the_vendor_repeats_of_our_secrets_is_not_shown(
    start_gateway: StartGateway, start_sandbox: StartSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox = await start_sandbox(scale=200)
    gateway = await start_gateway(sandbox, workers=True)
    key = sandbox.config.api_key
    token_url = gateway.callback_url("song")
    sandbox.add_rules(
        answers=[{"operation": "submit", "status": 400003, "message": f"key {key}: callback_url {token_url} is bad"}]
    )
    task = await gateway.submit()
    failed = await gateway.until(task["id"], "failed")
    told = f"{failed} {await gateway.timeline(task['id'])} {caplog.text}"
    assert "callback_url" in failed["error"]["message"]
    assert key not in told
    assert token_url.rsplit("/", 1)[1] not in told
