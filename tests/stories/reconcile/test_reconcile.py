"""Queries: not made while callbacks come, full when they are made, and one bad id spoils no other (G3, G4)."""

import asyncio
import itertools
import uuid
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import SONG, Running, eventually
from tests.support.start_fixtures import StartGateway, StartSandbox


def queries(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "query"]


QUICK: dict[str, Any] = {"query_first_after_s": 0.3, "query_interval_s": 0.3, "query_rate_per_s": 50}


async def test_every_callback_lost_and_the_task_still_ends(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """Of every family."""
    sandbox = await start_sandbox(scale=200, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, **QUICK)
    kinds = ("song.generate", "instrumental.generate", "lyrics.generate", "stems.create", "midi.create")
    for task in [await gateway.submit(kind) for kind in kinds]:
        done = await gateway.until(task["id"], "succeeded")
        assert done["items"][0]["last_callback_at"] is None
        assert done["items"][0]["last_query_at"] is not None
        assert all(one["status"] == "ready" for one in done["items"][0]["artifacts"].values())


async def test_due_items_are_asked_about_in_full_calls_within_the_rate(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    gateway = await start_gateway(
        sandbox, submit_max_in_flight=100, query_first_after_s=4, query_interval_s=10, query_rate_per_s=2
    )
    tasks = await asyncio.gather(*(gateway.submit("lyrics.generate") for _ in range(35)))
    for task in tasks:
        await gateway.until(task["id"], "succeeded", timeout_s=30)
    asked = queries(sandbox)
    assert sorted(len(call.item_ids) for call in asked) == [5, 10, 10, 10]
    assert min(later.at - earlier.at for earlier, later in itertools.pairwise(asked)) == pytest.approx(0.5, abs=1e-3)
    timelines = [await gateway.timeline(task["id"]) for task in tasks]
    assert all(at.endswith("Z") for timeline in timelines for at in _asked_at(timeline))
    permits = sorted({datetime.fromisoformat(at) for timeline in timelines for at in _asked_at(timeline)})
    assert len(permits) == 4
    assert min(later - earlier for earlier, later in itertools.pairwise(permits)) >= timedelta(seconds=0.5)


def _asked_at(timeline: list[dict[str, Any]]) -> list[Any]:
    return [item["asked_at"] for entry in timeline if entry["type"] == "query" for item in entry["detail"]["items"]]


async def test_callbacks_and_queries_race_to_one_state(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=100, callbacks={"double": 0.5, "reorder": 0.5, "delay": 0.3}, seed=5)
    gateway = await start_gateway(
        sandbox, submit_max_in_flight=50, query_first_after_s=0.05, query_interval_s=0.1, query_rate_per_s=100
    )
    tasks = await asyncio.gather(*(gateway.submit() for _ in range(10)))
    for task in tasks:
        await gateway.until(task["id"], "succeeded", timeout_s=40)
        # The last callback can overtake the others: the task is final then, and what is missing is still awaited.
        assert await eventually(partial(_complete, gateway, task["id"]))
    assert queries(sandbox)
    assert max(len(call.item_ids) for call in queries(sandbox)) <= 10


async def test_one_bad_id_is_found_by_halving_and_the_others_go_on(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    gateway = await start_gateway(
        sandbox, submit_max_in_flight=100, query_first_after_s=1.5, query_interval_s=5, item_unknown_grace_s=3
    )
    ghost = {"songs": [{"item_id": "t2m_ghost", "status": "running"}]}
    tasks, known = await asyncio.gather(
        asyncio.gather(*(gateway.submit() for _ in range(9))), gateway.call_back("song", ghost)
    )
    assert known.text == "success"
    for task in tasks:
        await gateway.until(task["id"], "succeeded", timeout_s=30)

    async def ghost_failed() -> Any:
        task = (await gateway.api.get("/v1/items/t2m_ghost")).json()
        return task if task["status"] == "failed" else None

    failed = await eventually(ghost_failed, timeout_s=30)
    assert failed["error"]["code"] == "item_unknown_to_vendor"
    assert failed["client"] == "external"
    spoiled = [call for call in queries(sandbox) if call.status == 400008]
    assert any(len(call.item_ids) > 1 for call in spoiled)
    assert any(call.item_ids == ("t2m_ghost",) for call in spoiled)


@pytest.mark.parametrize("answer", [{"unknown_items": "omit"}, {"unknown_items": "refuse"}])
async def test_an_unknown_item_gets_its_grace_and_a_sighting_undoes_the_verdict(
    start_gateway: StartGateway, start_sandbox: StartSandbox, answer: dict[str, Any]
) -> None:
    sandbox = await start_sandbox(scale=1, visible_after_s=3600, callbacks={"drop": 1}, **answer)
    gateway = await start_gateway(sandbox, **QUICK, item_unknown_grace_s=4)
    task = await gateway.submit()
    await gateway.until(task["id"], "running")
    await asyncio.sleep(1)
    assert (await gateway.task(task["id"]))["status"] == "running", "a young item is often just not visible yet"
    failed = await gateway.until(task["id"], "failed")
    assert failed["error"]["code"] == "item_unknown_to_vendor"
    [item_id] = [item["item_id"] for item in failed["items"]]
    late = {"songs": [{"item_id": item_id, "status": "main_succeeded", "audio_url": "https://cdn.example/a.mp3?k=1"}]}
    await gateway.call_back("song", late, uuid.UUID(task["id"]))
    reopened = await gateway.task(task["id"])
    assert reopened["status"] == "main_succeeded"
    assert reopened["version"] > failed["version"]
    assert reopened["error"] is None


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400003},
        {"http_status": 429, "retry_after_s": 4},
        {"garbage": "truncated"},
        {"reset": True},
    ],
    ids=str,
)
async def test_a_question_that_fails_is_asked_again(
    start_gateway: StartGateway, start_sandbox: StartSandbox, fault: dict[str, Any]
) -> None:
    """What else is no answer: ``tests/rules/tempolor/test_query_answer.py``."""
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "query", "times": 2} | fault])
    gateway = await start_gateway(sandbox, **QUICK)
    task = await gateway.submit("lyrics.generate")
    await gateway.until(task["id"], "succeeded")
    asked = queries(sandbox)
    assert len(asked) == 3
    if "retry_after_s" in fault:
        assert asked[1].at - asked[0].at >= 4


async def test_a_rejected_key_stops_queries_and_submissions_and_a_probe_goes_on(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "query", "status": 400002, "times": 2}])
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, **QUICK, clock=clock)
    task = await gateway.submit()

    async def held() -> Any:
        return (await gateway.api.get("/backlog")).json()["standing_still"]

    still = await eventually(held)
    assert still["query"]["reason"] == still["submit"]["reason"] == "vendor_key_rejected"
    sandbox.add_rules(answers=[{"operation": "submit", "status": 400002}])
    second = await gateway.submit()
    await asyncio.sleep(0.5)
    assert len(queries(sandbox)) == 1
    assert (await gateway.task(second["id"]))["status"] == "queued"
    # Whichever of the two probes first puts off the other: a probe every 30 s, and the key is right at the third.
    for _ in range(4):
        clock.skip(31)
        await asyncio.sleep(1)
    for one in (task, second):
        await gateway.until(one["id"], "succeeded")
    assert await held() == {}


async def test_a_task_expires_only_after_a_last_query_and_a_late_callback_settles_it(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=1, callbacks={"drop": 1})
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, query_first_after_s=10_000)
    task = await gateway.submit()
    running = await gateway.until(task["id"], "running")
    assert queries(sandbox) == []
    clock.skip(3601)
    expired = await gateway.until(task["id"], "expired")
    assert len(queries(sandbox)) == 1
    assert {one["status"] for one in expired["items"][0]["artifacts"].values()} == {"failed"}
    item_id = running["items"][0]["item_id"]
    still_running = {"songs": [{"item_id": item_id, "status": "running", "title": "Late"}]}
    await gateway.call_back("song", still_running, uuid.UUID(task["id"]))
    assert (await gateway.task(task["id"]))["status"] == "expired"
    final = {"songs": [{"item_id": item_id, "status": "succeeded", "audio_url": "https://cdn.example/a.mp3?k=1"}]}
    await gateway.call_back("song", final, uuid.UUID(task["id"]))
    done = await gateway.task(task["id"])
    assert done["status"] == "succeeded"
    assert done["items"][0]["artifacts"]["audio"]["status"] == "ready"
    assert done["version"] > expired["version"]
    assert (expired["warnings"], done["warnings"]) == ([], ["settled_after_expiry"])


async def test_while_the_vendor_cannot_be_asked_nothing_expires_for_as_long_again(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=1, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "query", "http_status": 503, "times": None}])
    clock = ScaledClock()
    gateway = await start_gateway(
        sandbox, clock=clock, task_deadline_s=20, query_first_after_s=10_000, query_interval_s=0.5
    )
    task = await gateway.submit()
    await gateway.until(task["id"], "running")
    clock.skip(20)
    await eventually(lambda: _some(queries(sandbox)))
    for _ in range(3):
        # Nobody can ask while the process is frozen: that counts for some seconds only.
        clock.skip(3600)
        await asyncio.sleep(0.5)
        assert (await gateway.task(task["id"]))["status"] == "running"
    await gateway.until(task["id"], "expired", timeout_s=60)


async def test_a_song_whose_mp3_callback_was_lost_still_gets_its_mp3(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=200)
    # Of a song that nobody sings the last callback is the next one.
    sandbox.add_rules(works=[{"drop": ["audio_complete"], "sparse_final": True}])
    gateway = await start_gateway(sandbox, query_interval_s=3)
    task = await gateway.submit(params={**SONG, "instrumental": True})
    incomplete = await gateway.until(task["id"], "succeeded")
    assert incomplete["items"][0]["artifacts"]["audio"]["status"] == "pending"
    assert queries(sandbox) == []
    [item] = await eventually(partial(_complete, gateway, task["id"]), timeout_s=100)
    assert item["artifacts"]["audio"]["status"] == "ready"
    assert len(queries(sandbox)) == 1
    await asyncio.sleep(10)
    assert len(queries(sandbox)) == 1, "what is complete is not asked about any more"


async def test_an_artifact_that_never_comes_is_given_up_after_three_answers(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, query_omits=0)
    gateway = await start_gateway(sandbox, **QUICK)
    task = await gateway.submit("lyrics.generate")
    await gateway.until(task["id"], "succeeded")
    ghost = {"songs": [{"item_id": "t2m_1", "status": "succeeded"}]}
    sandbox.add_rules(answers=[{"operation": "query", "kind": "song", "status": 400008, "times": None}])
    await gateway.call_back("song", ghost)

    async def given_up() -> Any:
        shown = (await gateway.api.get("/v1/items/t2m_1")).json()
        return shown if shown["items"][0]["artifacts"]["audio"]["status"] == "failed" else None

    shown = await eventually(given_up)
    assert shown["status"] == "succeeded"
    assert len([call for call in queries(sandbox) if call.kind.startswith("song")]) == 3


async def _complete(gateway: Running, task_id: str) -> Any:
    items = (await gateway.task(task_id))["items"]
    ready = all(one["status"] == "ready" for item in items for one in item["artifacts"].values())
    return items if ready else None


async def _some(found: list[Call]) -> list[Call]:
    return found
