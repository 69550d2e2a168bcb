"""Streams of Server-Sent Events: one `task` event at each change, resumed by Last-Event-ID, for whom it concerns."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import pytest
from httpx._models import Response

from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct, ids
from tests.support.gateway import SONG, Running, eventually
from tests.support.not_none import present
from tests.support.server_sent_events import Events, stream
from tests.support.song_callbacks import assert_problem, done, said, song
from tests.support.virtual_time import monotonic
from tests.support.waking import SOON_S, only_woken


async def _clients(gateway: Running, *names: Any) -> dict[str, Any]:
    made = {name: (await gateway.api.post("/v1/clients", json={"name": name})).json() for name in names}
    return {name: {"Authorization": f"Bearer {one['api_key']}"} for name, one in made.items()}


async def _submit(gateway: Running, headers: Any) -> Any:
    answer = await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=headers)
    return answer.json()


def _sync(gateway: Running, task: Any, body: dict[str, Any]) -> Coroutine[Any, Any, Response]:
    return gateway.call_back("song", body, UUID(task["id"]))


async def _next(events: Events, timeout_s: int = SOON_S) -> Any:
    return await asyncio.wait_for(events.next(), timeout_s)


@only_woken
async def test_a_tasks_stream_begins_with_what_is_tells_each_change_and_ends_with_the_task(gateway: Running) -> None:
    task = await gateway.submit()
    async with stream(gateway.api, f"/v1/tasks/{task['id']}/stream") as events:
        assert await _next(events) == task
        await _sync(gateway, task, song(status="running"))
        shown = await _next(events)
        assert (shown["status"], events.last_id) == ("running", str(shown["version"]))
        await _sync(gateway, task, song(status="running"))  # a repeat is no change
        await _sync(gateway, task, song(status="main_succeeded", audio_url="https://cdn.example/a"))
        assert (await _next(events))["status"] == "main_succeeded"
        await _sync(gateway, task, done())
        last = await _next(events)
        assert last == await gateway.task(task["id"])
        with pytest.raises(StopAsyncIteration):
            await _next(events)
    # Whoever has the last state is told to come no more; whoever has not gets it, and the end.
    path = f"/v1/tasks/{task['id']}/stream"
    answer = await gateway.api.get(path, headers={"Last-Event-ID": present(events.last_id)})
    assert (answer.status_code, answer.content) == (204, b"")
    async with stream(gateway.api, path, last_id=str(last["version"] - 1)) as events:
        assert [one["version"] async for one in events.tasks()] == [last["version"]]


@on_sqlite
async def test_a_stream_begins_with_the_task_as_it_is_also_in_what_has_no_version(gateway: Running) -> None:
    task = await gateway.submit()
    for reason in (None, "held_by_hand"):
        async with stream(gateway.api, f"/v1/tasks/{task['id']}/stream") as events:
            shown = await _next(events)
            assert ((shown["waiting_for"] or {}).get("reason"), shown["version"]) == (reason, task["version"])
        assert (await gateway.api.post("/v1/submissions/hold")).status_code == 200


@only_woken
async def test_a_final_task_of_which_something_is_still_to_come_is_followed_to_its_end(gateway: Running) -> None:
    task = await gateway.submit()
    async with stream(gateway.api, f"/v1/tasks/{task['id']}/stream") as events:
        await _next(events)
        await _sync(gateway, task, song(status="succeeded", audio_hi_url="https://cdn.example/a.wav"))
        assert (await _next(events))["items"][0]["artifacts"]["audio"]["status"] == "pending"
        await _sync(gateway, task, done())
        assert (await _next(events))["items"][0]["artifacts"]["audio"]["status"] == "ready"
        with pytest.raises(StopAsyncIteration):
            await _next(events)


@only_woken
async def test_a_tasks_stream_resumes_after_the_version_that_was_seen(gateway: Running) -> None:
    task = await gateway.submit()
    path = f"/v1/tasks/{task['id']}/stream"
    async with stream(gateway.api, path, last_id=str(task["version"])) as events:
        waiting = asyncio.create_task(events.next())
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await _sync(gateway, task, song(status="running"))
        assert (await asyncio.wait_for(waiting, SOON_S))["version"] > task["version"]
    await _sync(gateway, task, song(status="main_succeeded"))
    async with stream(gateway.api, path, last_id=events.last_id) as events:
        assert (await _next(events))["status"] == "main_succeeded"


async def test_a_clients_stream_tells_from_now_on_of_all_its_tasks_and_of_no_others(gateway: Running) -> None:
    keys = await _clients(gateway, "studio", "radio")
    before = await _submit(gateway, keys["studio"])
    admin = {"Authorization": gateway.api.headers["authorization"]}
    async with (
        stream(gateway.api, "/v1/stream", headers=keys["studio"]) as studio,
        stream(gateway.api, "/v1/stream", headers=keys["radio"]) as radio,
        stream(gateway.api, "/v1/stream", headers=admin) as everything,
    ):
        theirs = await _submit(gateway, keys["radio"])
        # Nobody is woken by a new task here; it is found by the look at the tables.
        assert (await _next(radio, 3))["id"] == theirs["id"]
        await _sync(gateway, before, song(status="running"))
        assert (await _next(studio))["id"] == before["id"]
        seen = [(await _next(everything))["id"] for _ in range(2)]
        assert seen == [theirs["id"], before["id"]]
        await _sync(gateway, before, song(status="main_succeeded"))
        shown = await _next(studio)
        assert shown == await gateway.task(before["id"])
        assert shown == await _next(everything)
        waiting = asyncio.create_task(radio.next())
        await asyncio.sleep(1.5)
        assert not waiting.done()
        waiting.cancel()


async def test_that_somebody_waits_for_a_task_is_no_news_of_it(gateway: Running) -> None:
    task = await gateway.submit()
    waiting = asyncio.create_task(gateway.api.get(f"/v1/tasks/{task['id']}?wait=2.5"))
    await asyncio.sleep(0.2)
    async with stream(gateway.api, "/v1/stream") as events, stream(gateway.api, f"/v1/tasks/{task['id']}/stream"):
        with pytest.raises(TimeoutError):
            await _next(events, 2)
        assert (await waiting).json() == task


async def test_a_clients_stream_resumes_where_it_ended_and_misses_nothing(gateway: Running) -> None:
    keys = await _clients(gateway, "studio", "radio")
    tasks = [await _submit(gateway, keys["studio"]) for _ in range(5)]
    async with stream(gateway.api, "/v1/stream", headers=keys["studio"]) as events:
        # The position is told before anything has happened.
        assert present((await anext(events.blocks())).id).isdigit()
    for number, task in enumerate(tasks[:3]):
        await _sync(gateway, task, song(f"t2m_{number}", "main_succeeded"))
        await _sync(gateway, await _submit(gateway, keys["radio"]), song(f"other_{number}", "running"))
    async with stream(gateway.api, "/v1/stream", events.last_id, keys["studio"]) as events:
        shown = {one["id"]: one for one in [await _next(events, 5) for _ in range(5)]}
        assert {one["client"] for one in shown.values()} == {"studio"}
        assert [shown[task["id"]]["status"] for task in tasks] == ["main_succeeded"] * 3 + ["queued"] * 2
        await _sync(gateway, tasks[4], song("t2m_4", "running"))
        assert (await _next(events))["id"] == tasks[4]["id"]


async def test_a_long_absence_is_read_by_pages(gateway: Running, db: Direct) -> None:
    tasks = [await gateway.submit() for _ in range(10)]
    # Between the others thousands of rows of one task, which the pages have to pass.
    busy = ids([tasks[4]["id"]])
    filler = (
        "INSERT INTO timeline (task_id, seq, at, type, version, detail) WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
        f"SELECT task_id, seq + i, at, type, version, detail FROM timeline, n WHERE task_id IN ({busy})"
    )
    await db.execute(filler, f"UPDATE tasks SET timeline_seq = 5001 WHERE id IN ({busy})")
    async with stream(gateway.api, "/v1/stream", "1000000") as events:
        shown = [await _next(events, 5) for _ in range(10)]
    assert [one["id"] for one in shown] == [task["id"] for task in tasks]


@on_sqlite
async def test_a_quiet_stream_shows_that_it_lives_and_moves_its_position(gateway: Running) -> None:
    gateway.gateway.services.heartbeat_s = 0.2
    task = await gateway.submit()
    async with stream(gateway.api, "/v1/stream") as events:
        first = await anext(events.blocks())
        beats = [await asyncio.wait_for(anext(events.blocks()), 2) for _ in range(12)]
        assert all(beat.comments == ("ping",) and beat.data is None for beat in beats)
        assert int(present(first.id)) < int(present(beats[-1].id))
    async with stream(gateway.api, f"/v1/tasks/{task['id']}/stream") as events:
        await _next(events)
        assert (await asyncio.wait_for(anext(events.blocks()), 2)).comments == ("ping",)


@on_sqlite
async def test_an_id_that_is_none_is_refused(gateway: Running) -> None:
    task = await gateway.submit()
    for path in ("/v1/stream", f"/v1/tasks/{task['id']}/stream"):
        for last_id in ("x", "-1", "1.5", "9" * 19, "²"):
            answer = await gateway.api.get(path, headers=[(b"Last-Event-ID", last_id.encode())])
            assert_problem(answer, 422, "invalid_request")
    assert_problem(await gateway.api.get("/v1/stream", headers={"Last-Event-ID": "9" * 18}), 422)
    async with stream(gateway.api, f"/v1/tasks/{task['id']}/stream", "") as events:
        assert (await _next(events))["id"] == task["id"]


async def test_a_position_of_another_stream_does_not_silence_a_tasks_stream(gateway: Running) -> None:
    """Nor does a version from before the database was restored."""
    task = await gateway.submit()
    path = f"/v1/tasks/{task['id']}/stream"
    for ahead in (str(task["version"] + 1), "1795377024995454"):
        async with stream(gateway.api, path, last_id=ahead) as events:
            assert (await _next(events), events.last_id) == (task, str(task["version"]))
    assert (await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")).status_code == 200
    async with stream(gateway.api, path, last_id="1795377024995454") as events:
        assert [one["status"] async for one in events.tasks()] == ["canceled"]


@on_sqlite
async def test_who_may_not_read_a_task_cannot_follow_it(gateway: Running) -> None:
    keys = await _clients(gateway, "studio", "radio")
    task = await _submit(gateway, keys["studio"])
    nothing = "0192aaaa-0000-7000-8000-000000000000"
    theirs, none = [
        await gateway.api.get(f"/v1/tasks/{task_id}/stream", headers=keys["radio"]) for task_id in (task["id"], nothing)
    ]
    assert_problem(theirs, 404, "not_found")
    assert said(theirs) == said(none)
    for path in ("/v1/stream", f"/v1/tasks/{task['id']}/stream"):
        assert_problem(await gateway.api.get(path, headers={"Authorization": ""}), 401)
    assert gateway.gateway.services.watch._places._taken.total() == 0
    async with (
        stream(gateway.api, "/v1/stream", headers=keys["studio"]) as all_tasks,
        stream(gateway.api, f"/v1/tasks/{task['id']}/stream", headers=keys["studio"]) as one,
        stream(gateway.api, f"/v1/tasks/{task['id']}/stream") as admins,
    ):
        assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
        # A key ends at once, also that of an open stream.
        assert [shown async for shown in all_tasks.tasks()] == []
        assert [shown["id"] async for shown in one.tasks()] == [task["id"]]
        await _next(admins)
        await _sync(gateway, task, song())
        assert (await _next(admins))["status"] == "running"


@only_woken
async def test_a_drain_ends_streams_at_once(gateway: Running) -> None:
    task = await gateway.submit()
    async with (
        stream(gateway.api, "/v1/stream") as all_tasks,
        stream(gateway.api, f"/v1/tasks/{task['id']}/stream") as one,
    ):
        await _next(one)
        await anext(all_tasks.blocks())
        since = monotonic()
        gateway.gateway.drain()
        for events in (all_tasks, one):
            with pytest.raises(StopAsyncIteration):
                await _next(events)
        assert monotonic() - since < SOON_S
    for path in ("/v1/stream", f"/v1/tasks/{task['id']}/stream"):
        assert_problem(await gateway.api.get(path), 503, "unavailable")
    assert (await gateway.api.get("/healthz")).status_code == 200


@on_sqlite
async def test_there_are_places_for_so_many_streams_and_they_are_given_back(gateway: Running) -> None:
    places = gateway.gateway.services.watch._places
    places._most, places._most_per_client = 2, 2
    task = await gateway.submit()
    path = f"/v1/tasks/{task['id']}/stream"
    async with stream(gateway.api, path), stream(gateway.api, "/v1/stream"):
        refused = await gateway.api.get(path)
        assert_problem(refused, 503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert 'gateway_watchers{what="streams"} 2.0' in (await gateway.api.get("/metrics")).text

    async def free() -> bool:
        return places._taken.total() == 0

    await eventually(free)
    async with stream(gateway.api, path) as events:
        await _next(events)
    await eventually(free)
    assert gateway.gateway.services.watch._task_streams == {}


@on_sqlite
async def test_a_stream_is_told_to_caches_and_proxies(gateway: Running) -> None:
    async with gateway.api.stream("GET", "/v1/stream") as response:
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith("id: ")
        assert await anext(lines) == "retry: 1000"
