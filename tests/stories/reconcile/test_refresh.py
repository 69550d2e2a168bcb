"""Asking now: answered at once, within the vendor's limits, and never by two at once."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.reconcile.claims import ClaimTimes, claim_due, claim_requested
from app.sandbox.calls import Call
from app.sandbox.state import Sandbox
from app.sandbox.works import Works
from tests.support.direct_sql import Direct
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, eventually, running_gateway
from tests.support.song_callbacks import assert_problem, done, song
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import utc_now

PATIENT = {"query_first_after_s": 10_000, "query_rate_per_s": 50}
"""Nothing is asked by itself."""


def queries(sandbox: Sandbox) -> list[Call]:
    return [call for call in sandbox.calls if call.operation == "query"]


async def refresh(gateway: Running, task_id: str, **headers: Any) -> httpx.Response:
    return await gateway.api.post(f"/v1/tasks/{task_id}/refresh", headers=headers)


async def _running(gateway: Running, n: int = 1) -> list[Any]:
    """Tasks that the vendor has, and of which nothing was heard since."""
    tasks = await asyncio.gather(*(gateway.submit() for _ in range(n)))
    return [await gateway.until(task["id"], "running") for task in tasks]


async def _vendor_has_finished(sandbox: Sandbox) -> None:
    async def finished() -> Works | bool:
        return sandbox.works and all(work.ended_at <= sandbox.now() for work in sandbox.works)

    await eventually(finished)


@pytest.mark.parametrize("workers", [True, False], ids=["beside a reconciler", "without one"])
async def test_the_vendor_is_asked_now_and_the_answer_is_the_task(
    database_url: str, start_sandbox: StartSandbox, workers: bool
) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    given: dict[str, Any] = {"tempolor_base_url": sandbox.base_url, **PATIENT}
    async with running_gateway(database_url, **given) as gateway:
        [task] = await _running(gateway)
    await _vendor_has_finished(sandbox)
    assert queries(sandbox) == []
    async with running_gateway(database_url, workers=workers, **given) as gateway:
        answer = await refresh(gateway, task["id"])
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        assert shown["status"] == "succeeded"
        assert shown["items"][0]["artifacts"]["audio"]["status"] == "ready"
        assert shown["items"][0]["last_query_at"] is not None
        assert await gateway.task(task["id"]) == shown
        assert len(queries(sandbox)) == 1
        # It has ended: asked no more.
        assert (await refresh(gateway, task["id"])).json() == shown
        assert len(queries(sandbox)) == 1


async def test_an_ended_task_is_not_asked_about_even_if_a_file_is_missing(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    """What is missing of it is the reconciler's to ask for."""
    sandbox = await start_sandbox(scale=0.1)
    gateway = await start_gateway(sandbox, **PATIENT)
    await gateway.call_back("song", song("t2m_x", "succeeded"))
    task = (await gateway.api.get("/v1/items/t2m_x")).json()
    assert task["items"][0]["artifacts"]["audio"]["status"] == "pending"
    answer = await refresh(gateway, task["id"])
    assert (answer.status_code, answer.json()) == (200, task)
    assert queries(sandbox) == []


DAY_S = 86_400


async def _ended(gateway: Running, sandbox: Sandbox, kind: str = "song.generate", **params: Any) -> dict[str, Any]:
    """A task that has ended as it should."""
    task = await gateway.submit(kind, **params)
    done = await gateway.until(task["id"], "succeeded")
    await eventually(lambda: _is_settled(gateway, done["id"]))
    return await gateway.task(done["id"])


async def _signed_anew() -> None:
    """The sandbox's signatures have the precision of a second."""
    await asyncio.sleep(1.1)


async def _is_settled(gateway: Running, task_id: str) -> bool:
    shown = await gateway.task(task_id)
    files = [one for item in shown["items"] for one in item["artifacts"].values()]
    return all(one["status"] == "ready" for one in files)


def links(task: Any) -> dict[str, Any]:
    return {name: (one["url"], one["expires_at"]) for name, one in task["items"][0]["artifacts"].items()}


@pytest.mark.parametrize("workers", [True, False], ids=["beside a reconciler", "without one"])
async def test_a_new_link_is_fetched_for_one_that_has_expired(
    database_url: str, start_sandbox: StartSandbox, workers: bool
) -> None:
    """The link of an ended task: one call, a version more, a new term, and nobody is notified again."""
    sandbox, clock = await start_sandbox(scale=2000, resign_every_s=100), ScaledClock()
    given: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "clock": clock,
        "egress_allow_private": True,
        **PATIENT,
    }
    async with running_gateway(database_url, **given) as gateway:
        task = await _ended(gateway, sandbox, webhook_url="http://127.0.0.1:9/hook")
    told = "SELECT count(*) AS n FROM notifications"
    [before] = await Direct(database_url).rows(told)
    async with running_gateway(database_url, workers=workers, **given) as gateway:
        clock.skip(2 * DAY_S)
        assert links((await refresh(gateway, task["id"])).json()) == links(task), "it is still good"
        assert queries(sandbox) == []
        clock.skip(1.1 * DAY_S)
        await _signed_anew()
        answer = await refresh(gateway, task["id"])
        assert answer.status_code == 200, answer.text
        fresh = answer.json()
        assert len(queries(sandbox)) == 1
        assert fresh["version"] > task["version"]
        assert fresh["status"] == "succeeded"
        for name, (url, expires_at) in links(fresh).items():
            assert url != links(task)[name][0]
            assert expires_at > links(task)[name][1]
        assert (await refresh(gateway, task["id"])).json() == fresh, "a new link is good for days"
        assert len(queries(sandbox)) == 1
    assert await Direct(database_url).rows(told) == [before]
    assert await Direct(database_url).rows("SELECT 1 FROM items WHERE query_due_at IS NOT NULL") == []


async def test_a_new_link_is_fetched_for_every_kind(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox, clock = await start_sandbox(scale=2000, resign_every_s=100), ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, **PATIENT)
    tasks = [await _ended(gateway, sandbox, kind) for kind in ("instrumental.generate", "stems.create", "midi.create")]
    clock.skip(4 * DAY_S)
    await _signed_anew()
    for asked, task in enumerate(tasks, start=1):
        fresh = (await refresh(gateway, task["id"])).json()
        assert {name: url for name, (url, _) in links(fresh).items()}.items().isdisjoint(
            {name: url for name, (url, _) in links(task).items()}.items()
        )
        assert len(queries(sandbox)) == asked


@pytest.mark.parametrize(
    ("answer", "status"),
    [({"status": 400001}, 503), ({"status": 400008}, 200)],
    ids=str,
)
async def test_a_link_that_the_vendor_does_not_renew_stays_as_it_is_and_is_asked_for_once(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str, answer: dict[str, Any], status: int
) -> None:
    sandbox, clock = await start_sandbox(scale=2000, resign_every_s=100), ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, query_rate_per_s=50, query_interval_s=2)
    task = await _ended(gateway, sandbox)
    asked = len(queries(sandbox))
    clock.skip(4 * DAY_S)
    sandbox.add_rules(answers=[{"operation": "query", "times": None} | answer])
    found = await refresh(gateway, task["id"])
    assert found.status_code == status
    assert (status == 200) or int(found.headers["retry-after"]) >= 1
    assert links(await gateway.task(task["id"])) == links(task)
    await asyncio.sleep(2.5)
    assert len(queries(sandbox)) == asked + 1
    assert await Direct(database_url).rows("SELECT 1 FROM items WHERE query_due_at IS NOT NULL") == []


async def test_while_the_vendor_is_paused_no_new_link_is_asked_for(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str
) -> None:
    sandbox, clock = await start_sandbox(scale=2000), ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, **PATIENT)
    task = await _ended(gateway, sandbox)
    sandbox.add_rules(answers=[{"operation": "submit", "status": 400002, "times": None}])
    clock.skip(4 * DAY_S)
    await gateway.submit()

    async def paused() -> Any:
        return (await gateway.api.get("/backlog")).json()["standing_still"].get("query")

    await eventually(paused)
    answer = await refresh(gateway, task["id"])
    assert_problem(answer, 503, "vendor_paused")
    assert int(answer.headers["retry-after"]) >= 1
    assert queries(sandbox) == []
    assert await Direct(database_url).rows("SELECT 1 FROM items WHERE query_due_at IS NOT NULL") == []


async def test_an_expired_stream_is_not_asked_for_when_its_file_is_there(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox, clock = await start_sandbox(scale=2000), ScaledClock()
    gateway = await start_gateway(sandbox, clock=clock, **PATIENT)
    params = {"prompt": "x", "model": "Lyria 3 Stream"}
    task = await _ended(gateway, sandbox, params=params)
    assert "stream" in links(task)
    clock.skip(DAY_S)
    assert (await refresh(gateway, task["id"])).status_code == 200
    assert queries(sandbox) == []


async def test_an_early_question_does_not_begin_a_series(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str
) -> None:
    """While callbacks come as they should, the one call of a refresh is the only one."""
    sandbox = await start_sandbox(scale=0.1)
    gateway = await start_gateway(sandbox, query_first_after_s=500, query_interval_s=1, query_rate_per_s=50)
    [task] = await _running(gateway)
    [before] = await Direct(database_url).rows("SELECT query_due_at, query_attempts FROM items")
    assert (await refresh(gateway, task["id"])).status_code == 200
    await asyncio.sleep(2.5)
    assert len(queries(sandbox)) == 1
    [after] = await Direct(database_url).rows("SELECT query_due_at, query_leased_until FROM items")
    assert after["query_due_at"] == before["query_due_at"]
    assert after["query_leased_until"] is None


async def test_many_refreshes_at_once_ask_about_no_item_twice_at_once(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "query", "delay_s": 0.5, "times": None}])
    gateway = await start_gateway(sandbox, **PATIENT)
    tasks = await _running(gateway, 3)
    answers = await asyncio.gather(*(refresh(gateway, task["id"]) for task in tasks for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert sandbox.truth()["items_queried_at_once"] <= 1
    # Who comes while an answer is awaited shares it.
    assert len(queries(sandbox)) <= 6


async def test_a_refresh_waits_for_the_question_that_is_under_way(
    start_gateway: StartGateway, start_sandbox: StartSandbox, database_url: str
) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "query", "delay_s": 1.5}])
    gateway = await start_gateway(sandbox, query_first_after_s=0.2, query_interval_s=500)
    task = await gateway.submit()
    leased = "SELECT item_id FROM items WHERE query_leased_until IS NOT NULL"
    await eventually(lambda: Direct(database_url).rows(leased))
    answer = await refresh(gateway, task["id"])
    assert answer.status_code == 200
    assert answer.json()["items"][0]["last_query_at"] is not None
    assert len(queries(sandbox)) == 1


async def test_refreshes_stay_within_the_rate(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, query_first_after_s=10_000, query_rate_per_s=4)
    tasks = await _running(gateway, 6)
    started = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(refresh(gateway, task["id"]) for task in tasks))
    assert {answer.status_code for answer in answers} == {200}
    assert len(queries(sandbox)) == 6
    assert asyncio.get_running_loop().time() - started == pytest.approx(5 / 4, abs=0.01)


async def test_over_the_rate_for_too_long_is_503_and_not_an_endless_wait(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, query_first_after_s=10_000, query_rate_per_s=0.01)
    first, second = await _running(gateway, 2)
    assert (await refresh(gateway, first["id"])).status_code == 200
    started = asyncio.get_running_loop().time()
    problem = await refresh(gateway, second["id"])
    assert_problem(problem, 503, "not_refreshed")
    assert int(problem.headers["retry-after"]) >= 1
    # Before a client with a time-out of 10 s gives up, were the machine idle.
    assert 7 <= asyncio.get_running_loop().time() - started <= 19


async def test_what_is_due_soon_fills_the_call(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, **PATIENT, query_interval_s=100_000)
    tasks = await _running(gateway, 5)
    assert (await refresh(gateway, tasks[0]["id"])).status_code == 200
    [call] = queries(sandbox)
    assert sorted(call.item_ids) == sorted(task["items"][0]["item_id"] for task in tasks)


async def test_a_queued_task_is_409_and_one_without_an_item_is_answered_as_it_is(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1)
    sandbox.add_rules(answers=[{"operation": "submit", "hang_s": 50, "times": None}])
    gateway = await start_gateway(sandbox, **PATIENT, submit_max_in_flight=1, submit_timeout_s=10)
    sent = await gateway.submit()
    await gateway.until(sent["id"], "submitting")
    queued = await gateway.submit()
    assert (await refresh(gateway, sent["id"])).json()["status"] == "submitting"
    assert_problem(await refresh(gateway, queued["id"]), 409, "conflict")
    await gateway.until(sent["id"], "unconfirmed")
    assert (await refresh(gateway, sent["id"])).json()["status"] == "unconfirmed"
    assert queries(sandbox) == []


async def test_while_the_key_is_rejected_it_is_503_without_a_call(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1})
    clock = ScaledClock()
    gateway = await start_gateway(sandbox, **PATIENT, clock=clock)
    [task] = await _running(gateway)
    sandbox.add_rules(answers=[{"operation": "query", "status": 400002}])
    for calls in (1, 1):
        answer = await refresh(gateway, task["id"])
        assert_problem(answer, 503, "vendor_paused")
        assert 20 <= int(answer.headers["retry-after"]) <= 30
        assert len(queries(sandbox)) == calls
    # After its time a refresh is the probe, and ends the hold.
    await _vendor_has_finished(sandbox)
    clock.skip(31)
    assert (await refresh(gateway, task["id"])).json()["status"] == "succeeded"
    assert (await gateway.api.get("/backlog")).json()["standing_still"] == {}


async def test_a_question_that_is_not_answered_is_503_and_asked_once(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1, callbacks={"drop": 1})
    gateway = await start_gateway(sandbox, **PATIENT)
    [task] = await _running(gateway)
    for fault in (
        {"status": 400001},
        {"status": 400003},
        {"http_status": 500},
        {"garbage": "html_200"},
        {"reset": True},
    ):
        before = len(queries(sandbox))
        sandbox.add_rules(answers=[{"operation": "query"} | fault])
        answer = await refresh(gateway, task["id"])
        assert_problem(answer, 503, "not_refreshed")
        assert int(answer.headers["retry-after"]) >= 1
        assert len(queries(sandbox)) == before + 1
        assert (await refresh(gateway, task["id"])).status_code == 200
        assert len(queries(sandbox)) == before + 2


async def test_an_answer_that_the_vendor_does_not_know_it_is_an_answer(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=0.1, visible_after_s=3600, callbacks={"drop": 1}, unknown_items="refuse")
    gateway = await start_gateway(sandbox, **PATIENT)
    [task] = await _running(gateway)
    answer = await refresh(gateway, task["id"])
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert len(queries(sandbox)) == 1


async def test_one_bad_item_is_halved_away_from_the_one_that_is_asked_about(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=2000, callbacks={"drop": 1}, unknown_items="refuse")
    gateway = await start_gateway(sandbox, **PATIENT, query_interval_s=100_000)
    [task] = await _running(gateway)
    await gateway.call_back("song", {"songs": [{"item_id": "t2m_ghost", "status": "running"}]})
    await _vendor_has_finished(sandbox)
    answer = await refresh(gateway, task["id"])
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert queries(sandbox)[0].status == 400008
    assert sandbox.truth()["items_queried_at_once"] <= 1


async def test_a_refresh_is_for_whom_the_task_is(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    gateway = await start_gateway(workers=False)
    task = await gateway.submit()
    await gateway.call_back("song", done(), UUID(task["id"]))
    made = (await gateway.api.post("/v1/clients", json={"name": "radio"})).json()
    assert_problem(await refresh(gateway, task["id"], Authorization=f"Bearer {made['api_key']}"), 404)
    assert_problem(await refresh(gateway, task["id"], Authorization=""), 401)
    assert_problem(await refresh(gateway, "no-id"), 404)
    assert (await refresh(gateway, task["id"])).status_code == 200


async def test_what_is_leased_is_claimed_by_nobody_else(start_gateway: StartGateway) -> None:
    """Not by the reconciler that fills a call, however far it looks ahead, nor by a refresh."""
    gateway = await start_gateway(workers=False)
    await gateway.call_back("song", {"songs": [song(f"t2m_{name}")["songs"][0] for name in "abc"]})
    db = gateway.gateway.context.db
    now = utc_now()
    far, lease_end = now.replace(year=now.year + 1), now.replace(year=now.year + 2)
    first = await db.write(claim_requested, {("song", "t2m_a"): None}, ClaimTimes(now, now, lease_end))
    assert [one.item_id for one in first] == ["t2m_a"]
    assert await db.write(claim_requested, {("song", "t2m_a"): None}, ClaimTimes(now, far, lease_end)) == []
    far_now = far.replace(year=now.year + 3)
    second = await db.write(claim_requested, {("song", "t2m_b"): None}, ClaimTimes(now, now, lease_end))
    assert [one.item_id for one in second] == ["t2m_b"]
    due = now + timedelta(days=1)
    third = await db.write(claim_due, ClaimTimes(due, far_now, lease_end))
    assert [one.item_id for one in third] == ["t2m_c"]
