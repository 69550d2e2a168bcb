"""Answers to questions that cannot be used: recorded, counted and told, and no answer all the same."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from app.reconcile import claims
from app.reconcile.ask import postpone
from app.reconcile.claims import ClaimedItem, Question
from app.rules.times import later
from app.runtime import metrics
from app.tempolor.answers import Unanswered
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.receiver import plain
from tests.support.song_callbacks import assert_problem
from tests.support.start_fixtures import StartGateway, StartSandbox

PATIENT = {"query_first_after_s": 10_000, "query_rate_per_s": 50}
"""Nothing is asked by itself."""


async def refresh(gateway: Running, task: dict[str, Any]) -> httpx.Response:
    return await gateway.api.post(f"/v1/tasks/{task['id']}/refresh")


async def failed_queries(gateway: Running, task: dict[str, Any]) -> list[Any]:
    return [one["detail"] for one in await gateway.timeline(task["id"]) if one["type"] == "query_failed"]


async def test_the_timeline_tells_of_each_fault_once_and_then_of_how_many_there_were(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, **PATIENT)
    task = await gateway.until((await gateway.submit())["id"], "running")
    counted = metrics.unusable_answers.labels("song", "no_envelope")
    before = counted._value.get()
    for fault, reason in ((HTML, "no_envelope"), (HTML, "no_envelope"), (HTML, "no_envelope"), (ERROR, "http_502")):
        sandbox.add_rules(answers=[{"operation": "query"} | fault])
        problem = await refresh(gateway, task)
        assert_problem(problem, 503, "not_refreshed")
        assert reason in problem.json()["detail"]
    assert (await gateway.task(task["id"]))["items"][0]["last_query_at"] is None
    assert (await refresh(gateway, task)).status_code == 200
    [item] = (await gateway.task(task["id"]))["items"]
    assert item["last_query_at"] is not None
    first, second = await failed_queries(gateway, task)
    assert (first["fault"], second["fault"]) == ("no_envelope", "http_502")
    assert first["items"] == [{"item_id": item["item_id"], "fault": "no_envelope"}]
    assert "<html" in first["answer"].lower()
    [query] = [one["detail"] for one in await gateway.timeline(task["id"]) if one["type"] == "query"]
    assert query["items"][0]["after_faults"] == {"fault": "http_502", "times": 1}
    assert counted._value.get() - before == 3


HTML = {"garbage": "html_200"}
ERROR = {"garbage": "html_502"}


async def test_a_task_that_expires_over_such_answers_says_so(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=1, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "query", "times": None, "status": 477777}])
    gateway = await start_gateway(sandbox, task_deadline_s=1, query_first_after_s=0.2, query_interval_s=1)
    task = await gateway.submit()
    expired = await gateway.until(task["id"], "expired", timeout_s=40)
    assert "answers could not be used" in expired["error"]["message"]
    assert "(477777)" in expired["error"]["message"]
    assert len(await failed_queries(gateway, task)) == 1


async def test_what_came_is_shown_to_no_client_whose_item_was_asked_about_with_anothers(database_url: str) -> None:
    async with running_gateway(database_url, workers=False) as gateway:
        mine = await gateway.submit()
        body = {"songs": [{"item_id": item_id, "status": "running"} for item_id in ("t2m_1", "t2m_2")]}
        await gateway.call_back("song", body, UUID(mine["id"]))
        await gateway.call_back("song", {"songs": [{"item_id": "t2m_ghost", "status": "running"}]})

        async def is_asked_in_vain(reason: str, *item_ids: str) -> None:
            context = gateway.gateway.context
            now = later(context.clock.now(), 3600)
            asked = tuple(ClaimedItem("song", item_id, 0) for item_id in item_ids)
            until = now + timedelta(seconds=30)
            await context.db.write(claims.lease, [one.key for one in asked], until)
            answer = Unanswered(reason, excerpt="what came")
            await context.db.write(postpone, context, Question("song", asked, now, until), answer, now)

        await is_asked_in_vain("no_list", "t2m_1", "t2m_ghost")
        await is_asked_in_vain("no_envelope", "t2m_1", "t2m_2")
        shared, own = await failed_queries(gateway, mine)
        assert "answer" not in shared
        assert (own["answer"], len(own["items"])) == ("what came", 2)


async def test_items_that_are_too_large_together_are_asked_about_in_halves(start_gateway: StartGateway) -> None:
    ended = {"status": "failed"}
    asked = []

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        item_ids = json.loads(await take_body(reader))["item_ids"]
        asked.append(len(item_ids))
        document = {"status": 200000, "data": {"songs": [{"item_id": one, **ended} for one in item_ids]}}
        # Each item has its 60 KB.
        await plain("200 OK", body=json.dumps(document).encode() + b" " * 60_000 * len(item_ids))(writer)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as vendor:
        port = vendor.sockets[0].getsockname()[1]
        gateway = await start_gateway(
            tempolor_base_url=f"http://127.0.0.1:{port}", query_first_after_s=0.2, query_rate_per_s=50
        )
        item_ids = [f"t2m_{number}" for number in range(10)]
        await gateway.call_back("song", {"songs": [{"item_id": one, "status": "running"} for one in item_ids]})

        async def all_ended() -> bool:
            tasks = [(await gateway.api.get(f"/v1/items/{one}")).json() for one in item_ids]
            return all(task["status"] == "failed" for task in tasks)

        await eventually(all_ended, timeout_s=30)
    assert sorted(set(asked), reverse=True) == [10, 5, 3, 2]


async def take_body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    return await reader.readexactly(int(head.partition("content-length: ")[2].split("\r\n")[0]))
