"""Lists, pages, timelines: complete, in order, and the same for whoever reads them in pieces."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from app.rules.submission import Claimed
from app.rules.transition import Change
from app.tasks import learned_delays
from app.tasks.apply import apply
from app.tasks.learned_delays import bucket_of
from app.web import cursors
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct, ids
from tests.support.fast_clock import ScaledClock
from tests.support.finished_songs import finished_songs
from tests.support.gateway import SONG, Running
from tests.support.song_callbacks import assert_problem, done, song
from tests.support.start_fixtures import StartGateway, StartSandbox


async def _pages(gateway: Running, between: Callable[..., Awaitable[Any]] | None = None, **params: Any) -> list[Any]:
    """All pages of the list of tasks; ``between`` runs after each."""
    found, cursor = [], None
    while True:
        answer = await gateway.api.get("/v1/tasks", params=params | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page.keys() == {"data", "next_cursor"}
        assert len(page["data"]) <= int(params.get("limit", 50))
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found
        if between:
            await between()


async def test_pages_have_no_gaps_and_no_repeats_while_new_tasks_arrive(gateway: Running) -> None:
    made = [(await gateway.submit(reference=f"{n}"))["id"] for n in range(23)]
    late = []

    async def between() -> None:
        late.extend([(await gateway.submit())["id"] for _ in range(3)])

    found = [task["id"] for task in await _pages(gateway, between, limit=5)]
    assert found == made[::-1]
    assert len(late) >= 12
    assert [task["id"] for task in await _pages(gateway, limit=7)] == [*made, *late][::-1]
    assert [task["id"] for task in await _pages(gateway, limit=200)] == [*made, *late][::-1]
    # A page that is exactly full and the last has no cursor.
    answer = await gateway.api.get("/v1/tasks", params={"limit": len(made) + len(late)})
    assert answer.json()["next_cursor"] is None


async def test_filters_narrow_and_combine(gateway: Running) -> None:
    studio = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()["api_key"]
    key = {"Authorization": f"Bearer {studio}"}
    song_17 = await gateway.submit(reference="order-17")
    midi_17 = await gateway.submit("midi.create", reference="order-17")
    body = {"kind": "song.generate", "params": SONG, "reference": "order-18"}
    theirs = (await gateway.api.post("/v1/tasks", json=body, headers=key)).json()
    await gateway.call_back("song", done("t2m_1"), UUID(song_17["id"]))

    async def found(**params: Any) -> list[Any]:
        return [task["id"] for task in await _pages(gateway, **params)]

    everything = [theirs["id"], midi_17["id"], song_17["id"]]
    assert await found() == everything
    assert await found(reference="order-17") == everything[1:]
    assert await found(reference="order") == []
    assert await found(kind="song.generate") == [theirs["id"], song_17["id"]]
    assert await found(status="succeeded") == [song_17["id"]]
    assert await found(status=["succeeded", "queued"]) == everything
    assert await found(status="queued", reference="order-17") == [midi_17["id"]]
    assert await found(client="studio") == [theirs["id"]]
    assert await found(client="bootstrap", kind="midi.create") == [midi_17["id"]]
    assert await found(created_after="2020-01-01T00:00:00Z") == everything
    assert await found(created_before="2020-01-01T00:00:00Z") == []
    assert await found(created_after="2020-01-01T02:00:00+02:00", created_before="2100-01-01T00:00:00Z") == everything


async def test_time_filters_hold_to_the_microsecond(gateway: Running) -> None:
    made = [await gateway.submit() for _ in range(6)]
    middle = made[3]["created_at"]
    assert len({task["created_at"] for task in made}) == 6

    async def found(**params: Any) -> list[Any]:
        return [task["id"] for task in await _pages(gateway, limit=2, **params)][::-1]

    names = [task["id"] for task in made]
    assert await found(created_before=middle) == names[:3]
    assert await found(created_after=middle) == names[4:]
    instant = datetime.fromisoformat(middle)
    just_before, just_after = (instant + timedelta(microseconds=n) for n in (-1, 1))
    assert await found(created_after=just_before.isoformat(), created_before=just_after.isoformat()) == [names[3]]


@on_sqlite
async def test_a_cursor_belongs_to_its_filters(gateway: Running) -> None:
    for _ in range(4):
        await gateway.submit(reference="x")
    made: dict[str, Any] = {"limit": 2, "reference": "x"}
    cursor = (await gateway.api.get("/v1/tasks", params=made)).json()["next_cursor"]
    same = await gateway.api.get("/v1/tasks", params={**made, "cursor": cursor})
    assert (same.status_code, len(same.json()["data"])) == (200, 2)
    # The size of a page is no filter.
    assert (await gateway.api.get("/v1/tasks", params={**made, "limit": 1, "cursor": cursor})).status_code == 200
    for other in (
        {},
        {"reference": "y"},
        {**made, "status": "queued"},
        {**made, "kind": "song.generate"},
        {**made, "client": "bootstrap"},
        {**made, "created_after": "2020-01-01T00:00:00Z"},
    ):
        answer = await gateway.api.get("/v1/tasks", params={**other, "cursor": cursor})
        assert_problem(answer, 400, "bad_cursor")
    # Nor can one be taken to another list, or be written by hand.
    assert_problem(await gateway.api.get("/v1/callbacks", params={"cursor": cursor}), 400, "bad_cursor")
    changed = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    assert (await gateway.api.get("/v1/tasks", params={**made, "cursor": changed})).status_code in (200, 400)
    assert_problem(await gateway.api.get("/v1/tasks", params={**made, "cursor": cursor[:-1]}), 400, "bad_cursor")


async def test_the_timeline_tells_everything_oldest_first(
    start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=300)
    gateway = await start_gateway(sandbox)
    task = await gateway.submit()
    ended = await gateway.until(task["id"], "succeeded")
    await sandbox.settle()
    told = await gateway.timeline(task["id"])
    assert told[0]["type"] == "accepted"
    assert [one["at"] for one in told] == sorted(one["at"] for one in told)
    assert [one["seq"] for one in told] == sorted(one["seq"] for one in told)
    assert [one["version"] for one in told] == sorted(one["version"] for one in told)
    assert told[-1]["version"] <= (await gateway.task(task["id"]))["version"]
    types = [one["type"] for one in told]
    assert types.count("callback") == 3
    moves = [(one["detail"]["from"], one["detail"]["to"]) for one in told if one["type"] == "status"]
    assert moves[0] == ("queued", "submitting")
    assert moves[-1][1] == ended["status"]
    assert all(one[1] == other[0] for one, other in pairwise(moves))
    events = [item["event"] for one in told if one["type"] == "callback" for item in one["detail"]["items"]]
    assert sorted(events) == ["audio_complete", "lrcsections_complete", "wav_complete"]
    # It names each callback, so that its raw body can be read.
    for one in told:
        if one["type"] == "callback":
            answer = await gateway.api.get(f"/v1/callbacks/{one['detail']['callback_id']}")
            assert answer.status_code == 200
    # Signed URLs and tokens are not on it.
    text = str(told)
    assert "auth_key" not in text
    assert gateway.callback_url("song", UUID(task["id"])).rpartition("/")[2] not in text


async def test_a_long_timeline_is_read_page_by_page_and_hides_nothing(gateway: Running, db: Direct) -> None:
    task, other = (await gateway.submit())["id"], (await gateway.submit())["id"]
    for n in range(4):
        await gateway.call_back("song", song("t2m_1", "running", title=str(n)), UUID(task))
    whole = await gateway.timeline(task)
    assert len({one["seq"] for one in whole}) == 5
    path = f"/v1/tasks/{task}/timeline"

    async def pages(limit: int) -> tuple[list[Any], list[int]]:
        found: list[Any] = []
        sizes: list[int] = []
        cursor = None
        while cursor is not None or not sizes:
            answer = await gateway.api.get(path, params={"limit": limit} | ({"cursor": cursor} if cursor else {}))
            assert answer.status_code == 200, answer.text
            found += answer.json()["data"]
            sizes.append(len({one["seq"] for one in answer.json()["data"]}))
            cursor = answer.json()["next_cursor"]
        return found, sizes

    for limit, sizes in ((2, [2, 2, 1]), (5, [5]), (4, [4, 1]), (1000, [5])):
        assert await pages(limit) == (whole, sizes)
    cursor = (await gateway.api.get(path, params={"limit": 2})).json()["next_cursor"]
    for where in (f"/v1/tasks/{other}/timeline", "/v1/tasks"):
        assert_problem(await gateway.api.get(where, params={"cursor": cursor}), 400, "bad_cursor")
    # Written by hand, of a number that no row has.
    forged = cursors.make(str(UUID(int=2**127)), ("timeline", UUID(task)))
    assert_problem(await gateway.api.get(path, params={"cursor": forged}), 400, "bad_cursor")
    for limit in (0, 1001):
        assert_problem(await gateway.api.get(path, params={"limit": limit}), 422)
    # Without a limit the newest are not hidden either.
    await db.execute(
        "INSERT INTO timeline (task_id, seq, at, type, version, detail) WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) "
        "SELECT task_id, seq + i, at, type, version, detail FROM timeline, n "
        f"WHERE task_id IN ({ids([task])}) AND seq = 5"
    )
    first = (await gateway.api.get(path)).json()
    rest = (await gateway.api.get(path, params={"cursor": first["next_cursor"]})).json()
    assert sorted({one["seq"] for one in first["data"] + rest["data"]}) == list(range(1, 1506))
    assert rest["next_cursor"] is None


async def test_version_grows_with_each_visible_change_and_only_then(gateway: Running) -> None:
    task = await gateway.submit()
    steps = [
        song("t2m_1", "waiting"),
        song("t2m_1", "running"),
        song("t2m_1", "running", title="A"),
        song("t2m_1", "main_succeeded", audio_url="https://cdn.example/a.mp3?s=1"),
        song("t2m_1", "main_succeeded", audio_url="https://cdn.example/a.mp3?s=2"),
        song("t2m_2", "waiting"),
        done("t2m_1"),
        done("t2m_2"),
    ]
    before = await gateway.task(task["id"])
    for body in steps:
        await gateway.call_back("song", body, UUID(task["id"]))
        now = await gateway.task(task["id"])
        assert now["version"] > before["version"], body
        assert now["updated_at"] > before["updated_at"]
        before = now
    assert before["status"] == "succeeded"
    stale = [song("t2m_1", "waiting"), song("t2m_2", "running"), song("t2m_1", "main_succeeded"), song("t2m_1", None)]
    for n, body in enumerate(stale):
        # In other words, so that each is a callback of its own.
        await gateway.call_back("song", {**body, "n": n}, UUID(task["id"]))
        now = await gateway.task(task["id"])
        assert (now["version"], now["status"]) == (before["version"], "succeeded")


async def test_the_documented_task_has_every_documented_field(gateway: Running) -> None:
    task = await gateway.submit(reference="order-17")
    body = song("t2m_1", "main_succeeded", title="Harbour Lights", style="Pop", model="tempolor-latest", duration=187)
    body["songs"][0] |= {"audio_url": "https://cdn.example/a.mp3?auth_key=1", "created_at": 1741366502768}
    body["songs"][0] |= {"event": "audio_chunk", "streamAudioUrl": "https://media.example/live?x=1"}
    await gateway.call_back("song", body, UUID(task["id"]))
    shown = await gateway.task(task["id"])
    assert shown.keys() == {
        "id", "kind", "status", "client", "reference", "metadata", "params", "webhook_url", "retry_of", "items",
        "error", "warnings", "waiting_for", "expected_playable_at", "submitted_model", "webhook_events", "version",
        "created_at", "submitted_at", "playable_at", "finished_at", "updated_at", "deadline_at",
    }  # fmt: skip
    item = shown["items"][0]
    assert item.keys() == {
        "item_id", "status", "title", "style", "model", "duration_s", "lyrics", "lyrics_sections", "artifacts",
        "vendor", "last_callback_at", "last_query_at",
    }  # fmt: skip
    assert (item["title"], item["duration_s"], item["last_query_at"]) == ("Harbour Lights", 187, None)
    assert item["vendor"]["created_at"] == 1741366502768
    assert {name: one["status"] for name, one in item["artifacts"].items()} == {
        "stream": "ready",
        "audio": "ready",
        "audio_hi": "pending",
    }
    assert item["artifacts"]["audio"]["url"] == "https://cdn.example/a.mp3?auth_key=1"
    assert (shown["status"], shown["finished_at"]) == ("main_succeeded", None)
    assert shown["playable_at"] is not None


async def test_a_final_word_without_the_mp3_does_not_lose_it(gateway: Running) -> None:
    task = await gateway.submit("instrumental.generate")
    first = {"item_id": "123", "status": "main_succeeded", "event": "audio_complete", "title": "Neon Drive"}
    first["audio_url"] = "https://cdn.example/a.mp3?auth_key=1"
    last: dict[str, Any] = {
        "item_id": "123",
        "status": "succeeded",
        "event": "wav_complete",
        "audio_hi_status": "sub_succeeded",
    }
    last |= {"audio_hi_url": "https://cdn.example/a.wav?auth_key=1", "title": None, "audio_url": ""}
    for item in (first, last):
        await gateway.call_back("instrumental", {"instrumentals": [item]}, UUID(task["id"]))
    ended = await gateway.task(task["id"])
    assert (ended["status"], ended["items"][0]["title"]) == ("succeeded", "Neon Drive")
    urls = {name: one["url"] for name, one in ended["items"][0]["artifacts"].items()}
    assert urls == {"audio": first["audio_url"], "audio_hi": last["audio_hi_url"]}


@pytest.mark.parametrize(
    ("odd", "warnings"),
    [
        ({"status": "running", "audio_hi_status": "waiting"}, []),
        ({"status": "processing"}, ["unknown_status"]),
        ({"status": "Succeeded"}, ["unknown_status"]),
        ({"status": "main_succeeded", "audio_hi_status": "succeeded"}, ["unknown_status"]),
    ],
    ids=str,
)
@on_sqlite
async def test_a_status_that_nobody_knows_is_warned_of_until_a_known_one_overtakes_it(
    gateway: Running, odd: dict[str, str], warnings: list[str]
) -> None:
    task = await gateway.submit()
    assert task["warnings"] == []
    await gateway.call_back("song", song(**odd), UUID(task["id"]))
    found = await gateway.task(task["id"])
    assert (found["warnings"], found["status"] in ("running", "main_succeeded")) == (warnings, True)
    await gateway.call_back("song", done(), UUID(task["id"]))
    assert (await gateway.task(task["id"]))["warnings"] == []


async def test_finished_tasks_are_found_by_when_they_finished(gateway: Running) -> None:
    tasks = [await gateway.submit() for _ in range(4)]
    for number in (2, 0, 1):
        await gateway.api.post(f"/v1/tasks/{tasks[number]['id']}/cancel")
    finished = {number: (await gateway.task(tasks[number]["id"]))["finished_at"] for number in (0, 1, 2)}

    async def found(**params: Any) -> list[int]:
        order = [task["id"] for task in tasks]
        return sorted(order.index(task["id"]) for task in await _pages(gateway, limit=1, **params))

    assert await found(finished_after="2020-01-01T00:00:00Z") == [0, 1, 2]
    assert await found(finished_after=finished[2]) == [0, 1]
    assert await found(finished_before=finished[1]) == [0, 2]
    assert await found(finished_after=finished[2], finished_before=finished[1]) == [0]
    assert await found(finished_before="2020-01-01T00:00:00Z") == []


async def test_a_summary_has_all_but_lyrics_and_what_the_vendor_said(gateway: Running) -> None:
    title, lyrics = "long " * 200, "la " * 500
    task = await gateway.submit(params={**SONG, "lyrics": lyrics})
    await gateway.call_back("song", done(title=title, style="pop", duration=187, lyrics=lyrics), UUID(task["id"]))
    [full] = await _pages(gateway)
    [summary] = await _pages(gateway, view="summary")
    assert full["items"][0]["lyrics"] == lyrics.strip() or full["items"][0]["lyrics"] == lyrics
    for item in full["items"]:
        for name in ("lyrics", "lyrics_sections", "vendor"):
            del item[name]
    assert full["params"].pop("lyrics") == lyrics
    assert summary == full
    assert summary["items"][0]["title"] == full["items"][0]["title"] != ""
    assert_problem(await gateway.api.get("/v1/tasks", params={"view": "short"}), 422)


@on_sqlite
async def test_a_page_of_200_finished_songs_in_summary_travels_in_under_150_kilobytes(gateway: Running) -> None:
    songs = list(finished_songs(200))
    for some in (songs[:100], songs[100:]):
        answer = await gateway.api.post("/v1/tasks/batch", json={"tasks": [request for request, _ in some]})
        finished = (
            gateway.call_back("song", {"songs": items}, UUID(task["id"]))
            for task, (_, items) in zip(answer.json()["data"], some, strict=True)
        )
        await asyncio.gather(*finished)
    async with gateway.api.stream("GET", "/v1/tasks?limit=200&view=summary") as page:
        sent = b"".join([part async for part in page.aiter_raw()])
    assert page.headers["content-encoding"] == "gzip"
    assert len(sent) < 150_000
    tasks = json.loads(gzip.decompress(sent))["data"]
    assert len(tasks) == 200
    items = [item for task in tasks for item in task["items"]]
    assert len(items) == 400
    assert {file["status"] for item in items for file in item["artifacts"].values()} == {"ready"}
    assert {len(item["artifacts"]) for item in items} == {4}


async def test_a_task_that_was_sent_says_when_it_will_probably_be_playable(
    start_gateway: StartGateway, start_sandbox: StartSandbox, clock: ScaledClock
) -> None:
    gateway = await start_gateway(workers=False, clock=clock)
    context = gateway.gateway.context
    task = await gateway.submit()
    dispatched = UUID(task["id"])

    async def expected() -> Any:
        return (await gateway.task(task["id"]))["expected_playable_at"]

    await context.db.write(learned_delays.add, {("song.generate", 0, bucket_of(60.0)): 49}, 400)
    await context.delays.flush(context.db)
    assert await expected() is None  # not sent yet
    at = context.clock.now()
    await context.db.write(apply, [Change(at, "submitting", dispatched, event=Claimed(context.ids()))], context.rules)
    assert await expected() is None  # too few samples
    await context.db.write(learned_delays.add, {("song.generate", 0, bucket_of(60.0)): 1}, 400)
    await context.delays.flush(context.db)
    found = await expected()
    earliest, latest = (datetime.fromisoformat(found[name]) - at for name in ("from", "to"))
    assert timedelta(seconds=50) < earliest < timedelta(seconds=60) <= latest < timedelta(seconds=70)
    clock.skip(80)
    assert await expected() is None  # it takes longer than they say


async def test_what_part_failed_is_named(gateway: Running) -> None:
    task = await gateway.submit()
    body = song(status="part_failed", audio_url="https://cdn.example/a.mp3", audio_hi_status="sub_failed")
    await gateway.call_back("song", body, UUID(task["id"]))
    found = await gateway.task(task["id"])
    assert (found["status"], found["error"]) == ("part_failed", None)
    assert "artifact_failed:audio_hi" in found["warnings"]
    assert "artifact_failed:audio" not in found["warnings"]


async def test_aligned_lyrics_are_found_also_where_two_families_have_an_item_of_one_id(gateway: Running) -> None:
    text, sung = await gateway.submit("lyrics.generate", params={"prompt": "rain"}), await gateway.submit()
    written = {"lyrics": [{"item_id": "123", "status": "succeeded", "title": "Rain", "lyric": "la"}]}
    await gateway.call_back("lyrics", written, UUID(text["id"]))
    sections = [{"start": 1, "end": 2, "text": "la"}]
    await gateway.call_back("song", {"songs": [{"item_id": "123", "lyrics_sections": sections}]}, UUID(sung["id"]))
    assert (await gateway.api.get("/v1/items/123/lyrics.lrc")).text == "[00:01.00]la\n"


async def test_aligned_lyrics_are_subtitle_files(gateway: Running) -> None:
    task = await gateway.submit()
    sections = [
        {"start": 61.25, "end": 65, "text": "second line"},
        {"start": 0.5, "end": 2.5, "text": "\n[verse]\nfirst <line>"},
        {"start_ms": 3_600_500, "text": "late"},
        {"start": 5, "text": "[chorus]"},
        "odd",
    ]
    await gateway.call_back("song", song(title="Harbour [live]"), UUID(task["id"]))
    assert_problem(await gateway.api.get("/v1/items/t2m_1/lyrics.lrc"), 409, "artifact_not_ready")
    body = song(lyrics_sections=sections, lyrics_sections_status="sub_succeeded", n=1)
    await gateway.call_back("song", body, UUID(task["id"]))
    lrc = await gateway.api.get("/v1/items/t2m_1/lyrics.lrc")
    assert lrc.headers["content-type"] == "text/plain; charset=utf-8"
    assert lrc.text.splitlines() == [
        "[ti:Harbour [live)]",
        "[00:00.50]first <line>",
        "[01:01.25]second line",
        "[60:00.50]late",
    ]
    srt = await gateway.api.get("/v1/items/t2m_1/lyrics.srt")
    assert srt.text.split("\n\n") == [
        "1\n00:00:00,500 --> 00:00:02,500\nfirst <line>",
        "2\n00:01:01,250 --> 00:01:05,000\nsecond line",
        "3\n01:00:00,500 --> 01:00:05,500\nlate\n",
    ]
    assert (await gateway.api.get("/v1/items/none/lyrics.srt")).status_code == 404
    assert (await gateway.api.get("/v1/items/t2m_1/lyrics.txt")).status_code in (404, 422)
