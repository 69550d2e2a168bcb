"""``GET /v1/tasks/{id}?wait=``: held until the task is as wanted, its time is up, or the process drains."""

import asyncio
from _asyncio import Task
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.requests import Request

from app.errors import Unavailable
from app.runtime.concurrency_limit import ConcurrencyLimit
from app.watching.current_documents import Current
from app.watching.task_routes import long_poll
from app.watching.waits import GUARD_S, LATEST_ANSWER_S, Until, Waits
from app.web.request_ids import ARRIVED_AT
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import Running, eventually
from tests.support.song_callbacks import assert_problem, done, said, song
from tests.support.virtual_time import monotonic
from tests.support.waking import SOON_S, only_woken
from tests.support.watching import ADMIN


def _wait(
    gateway: Running, task_id: str, seconds: float = 20, until: str | None = None, headers: dict[str, str] | None = None
) -> Task[Any]:
    params = {"wait": seconds} | ({"until": until} if until else {})
    return asyncio.create_task(gateway.api.get(f"/v1/tasks/{task_id}", params=params, headers=headers, timeout=90))


async def _settled(gateway: Running, waits: int) -> None:
    """Until this many requests wait."""
    watch = gateway.gateway.services.watch

    async def wait() -> bool:
        return sum(len(one) for one in watch._waits.waiting.values()) == waits and not watch._woken

    await eventually(wait)
    await asyncio.sleep(0.05)


async def _timed(waiting: Task[Any], since: float) -> tuple[Any, float]:
    answer = await waiting
    assert answer.status_code == 200, answer.text
    return answer.json(), monotonic() - since


@only_woken
async def test_it_ends_at_the_moment_at_which_the_task_is_playable_or_final(gateway: Running) -> None:
    task = await gateway.submit()
    playable, final = _wait(gateway, task["id"], until="playable"), _wait(gateway, task["id"])
    await _settled(gateway, 2)
    since = monotonic()
    await gateway.call_back("song", song(status="running"), UUID(task["id"]))
    await gateway.call_back("song", song(status="main_succeeded", audio_url="https://cdn.example/a"), UUID(task["id"]))
    shown, after_s = await _timed(playable, since)
    assert (shown["status"], shown["items"][0]["artifacts"]["audio"]["status"]) == ("main_succeeded", "ready")
    assert after_s < SOON_S
    assert not final.done()
    since = monotonic()
    await gateway.call_back("song", done(), UUID(task["id"]))
    shown, after_s = await _timed(final, since)
    assert shown == await gateway.task(task["id"])
    assert (shown["status"], after_s < SOON_S) == ("succeeded", True)


@on_sqlite
async def test_the_answer_is_the_task_as_it_is_now_also_in_what_has_no_version(gateway: Running) -> None:
    task = await gateway.submit()
    for reason, change in ((None, "hold"), ("held_by_hand", "release"), (None, "hold")):
        shown, _ = await _timed(_wait(gateway, task["id"], 0.01), monotonic())
        assert shown == await gateway.task(task["id"])
        assert ((shown["waiting_for"] or {}).get("reason"), shown["version"]) == (reason, task["version"])
        assert (await gateway.api.post(f"/v1/submissions/{change}")).status_code == 200


@on_sqlite
@only_woken
async def test_playable_means_final_for_what_has_no_extras(gateway: Running) -> None:
    for kind, key, family in (
        ("lyrics.generate", "lyrics", "lyrics"),
        ("stems.create", "stems", "stems"),
        ("midi.create", "midis", "midi"),
    ):
        task = await gateway.submit(kind)
        waiting = _wait(gateway, task["id"], until="playable")
        await _settled(gateway, 1)
        await gateway.call_back(family, {key: [{"item_id": family, "status": "main_succeeded"}]}, UUID(task["id"]))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await gateway.call_back(family, {key: [{"item_id": family, "status": "succeeded"}]}, UUID(task["id"]))
        shown, after_s = await _timed(waiting, monotonic())
        assert (shown["status"], after_s < SOON_S) == ("succeeded", True)


@only_woken
async def test_what_is_as_wanted_is_answered_at_once(gateway: Running) -> None:
    task = await gateway.submit()
    await gateway.call_back("song", song(status="main_succeeded"), UUID(task["id"]))
    since = monotonic()
    shown, after_s = await _timed(_wait(gateway, task["id"], until="playable"), since)
    assert (shown["status"], after_s < SOON_S) == ("main_succeeded", True)
    await gateway.call_back("song", song(status="failed"), UUID(task["id"]))
    for until in ("final", "playable"):
        since = monotonic()
        _, after_s = await _timed(_wait(gateway, task["id"], until=until), since)
        assert after_s < SOON_S


async def test_when_the_time_is_up_it_is_the_task_as_it_is(gateway: Running) -> None:
    task = await gateway.submit()
    since = monotonic()
    waiting = _wait(gateway, task["id"], 0.6)
    await _settled(gateway, 1)
    await gateway.call_back("song", song(status="running"), UUID(task["id"]))
    shown, after_s = await _timed(waiting, since)
    assert shown == await gateway.task(task["id"])
    assert shown["status"] == "running"
    assert 0.6 <= after_s < 2


@on_sqlite
async def test_a_bad_value_is_refused(gateway: Running) -> None:
    task = await gateway.submit()
    for query in ("wait=-1", "wait=60.5", "wait=nan", "wait=inf", "wait=soon", "wait=1&until=done", "until=x"):
        assert_problem(await gateway.api.get(f"/v1/tasks/{task['id']}?{query}"), 422, "invalid_request")
    assert (await gateway.api.get(f"/v1/tasks/{task['id']}?wait=0&until=playable")).status_code == 200


@on_sqlite
async def test_who_may_not_see_a_task_cannot_wait_for_it(gateway: Running) -> None:
    keys = {}
    for name in ("studio", "radio"):
        made = (await gateway.api.post("/v1/clients", json={"name": name})).json()
        keys[name] = {"Authorization": f"Bearer {made['api_key']}"}
    task = (
        await gateway.api.post(
            "/v1/tasks", json={"kind": "lyrics.generate", "params": {"prompt": "x"}}, headers=keys["studio"]
        )
    ).json()
    nothing = "0192aaaa-0000-7000-8000-000000000000"
    theirs, none, no_id, nobody = [
        await _wait(gateway, task_id, 5, headers=headers)
        for task_id, headers in (
            (task["id"], keys["radio"]),
            (nothing, keys["radio"]),
            ("x", keys["radio"]),
            (task["id"], {"Authorization": ""}),
        )
    ]
    assert_problem(theirs, 404, "not_found")
    assert said(theirs) == said(none) == said(no_id)
    assert_problem(nobody, 401)
    own, admins = _wait(gateway, task["id"], headers=keys["studio"]), _wait(gateway, task["id"])
    await _settled(gateway, 2)
    assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
    # A key ends at once, also that of somebody who waits.
    assert_problem(await own, 401)
    assert not admins.done()
    await gateway.call_back("lyrics", {"lyrics": [{"item_id": "l1", "status": "succeeded"}]}, UUID(task["id"]))
    assert (await admins).json()["status"] == "succeeded"


@on_sqlite
@pytest.mark.parametrize("wait", [55, 58.5, 60])
async def test_no_answer_is_held_as_long_as_the_proxies_before_it_wait(gateway: Running, wait: float) -> None:
    """They give up after 60 s: it is there some seconds before, also where all are busy."""
    task = await gateway.submit()
    since = monotonic()
    shown, after_s = await _timed(_wait(gateway, task["id"], wait), since)
    assert shown["status"] == "queued"
    assert 55 <= after_s < 55.1
    refused = await _wait(gateway, task["id"], 60.01)
    assert_problem(refused, 422, "invalid_request")


@on_sqlite
async def test_a_wait_counts_from_the_arrival_of_its_request(gateway: Running) -> None:
    """Of which the look at its key took five seconds."""
    task = await gateway.submit()
    watch, since = gateway.gateway.services.watch, monotonic()
    request = Request({"type": "http", ARRIVED_AT: asyncio.get_running_loop().time() - 5}, asyncio.Event().wait)  # type: ignore[arg-type]
    answer = await long_poll(request, watch, UUID(task["id"]), ADMIN, 55, Until.FINAL)
    assert answer.status_code == 200
    assert 50 <= monotonic() - since < 50.1


@on_sqlite
async def test_a_wait_that_nobody_answers_is_refused_before_a_proxy_gives_up(gateway: Running) -> None:
    waits = Waits(Current(gateway.gateway.context), ConcurrencyLimit("waits", 5, 1), look_up=lambda _task_id: None)
    for asked_s, refused_s in ((3, 3 + GUARD_S), (55, LATEST_ANSWER_S)):
        since = monotonic()
        with pytest.raises(Unavailable):
            await waits.wait(uuid4(), ADMIN, asked_s, Until.FINAL)
        assert monotonic() - since == pytest.approx(refused_s)


@only_woken
async def test_a_drain_ends_waits_at_once(gateway: Running) -> None:
    tasks = [await gateway.submit() for _ in range(3)]
    waits = [_wait(gateway, task["id"], 60) for task in tasks]
    await _settled(gateway, 3)
    since = monotonic()
    gateway.gateway.drain()
    for waiting in waits:
        shown, after_s = await _timed(waiting, since)
        assert (shown["status"], after_s < SOON_S) == ("queued", True)
    _, after_s = await _timed(_wait(gateway, tasks[0]["id"], 60), since)
    assert after_s < SOON_S


@on_sqlite
async def test_a_caller_that_goes_away_gives_its_place_back(gateway: Running) -> None:
    task = await gateway.submit()
    waiting = _wait(gateway, task["id"], 60)
    await _settled(gateway, 1)
    waiting.cancel()
    await _settled(gateway, 0)


@on_sqlite
async def test_there_are_places_for_so_many_and_no_more(gateway: Running) -> None:
    places = gateway.gateway.services.watch._waits._places
    places._most, places._most_per_client = 5, 3
    made = (await gateway.api.post("/v1/clients", json={"name": "chief", "admin": True})).json()
    other = {"Authorization": f"Bearer {made['api_key']}"}
    task = await gateway.submit()
    waits = [_wait(gateway, task["id"], 60) for _ in range(3)]
    await _settled(gateway, 3)
    refused = assert_problem(await _wait(gateway, task["id"], 60), 503, "unavailable")
    assert "this client" in refused["detail"]
    waits += [_wait(gateway, task["id"], 60, headers=other) for _ in range(2)]
    await _settled(gateway, 5)
    refused = await _wait(gateway, task["id"], 60, headers=other)
    assert_problem(refused, 503, "unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert 'gateway_watchers{what="waits"} 5.0' in (await gateway.api.get("/metrics")).text
    await gateway.call_back("song", done(), UUID(task["id"]))
    assert {(await one).json()["status"] for one in waits} == {"succeeded"}
    await _settled(gateway, 0)
    assert 'gateway_watchers{what="waits"} 0.0' in (await gateway.api.get("/metrics")).text


@pytest.mark.parametrize("until", ["playable", "final"])
async def test_a_task_that_is_taken_away_while_somebody_waits_is_not_found(
    gateway: Running, db: Direct, until: str
) -> None:
    task = await gateway.submit()
    waiting = _wait(gateway, task["id"], 30, until)
    await _settled(gateway, 1)
    await db.execute("DELETE FROM tasks")
    assert_problem(await waiting, 404, "not_found")
