"""A task's page: it follows its task, shows its files, lyrics, callbacks and notifications, and what is done there."""

import re
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from app.console import text
from tests.stories.console.browser import Browser, opened, words_of
from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.file_server import MP3, File, serving_files
from tests.support.gateway import ADMIN_KEY, Running, eventually
from tests.support.not_none import present
from tests.support.song_callbacks import done, song
from tests.support.start_fixtures import StartGateway, StartSandbox

WEBHOOK: Final = "https://hooks.example/x"


def _live(page: str) -> str:
    [path] = re.findall(r'hx-get="([^"]+/live[^"]+)"', page)
    return path.replace("&amp;", "&")


@on_sqlite
async def test_a_page_follows_its_task(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit(webhook_url=WEBHOOK)
    page = await admin.see(f"/console/tasks/{task['id']}")
    assert "Accepted, not sent to the vendor yet." in words_of(page)
    assert (await admin.http.get(_live(page))).status_code == 204
    await gateway.call_back("song", done(title="Harbour Lights"), UUID(task["id"]))
    part = await admin.http.get(_live(page))
    assert (part.status_code, part.headers["hx-trigger"]) == (200, "task-changed")
    assert set(re.findall(r'id="(\w+)"[^>]* hx-swap-oob="true"', part.text)) == {"follow", "status", "items", "history"}
    words = words_of(part.text)
    for wanted in ("Harbour Lights", "Done", "MP3", "The vendor called back", "Queued → Done", "task.succeeded"):
        assert wanted in words, wanted
    assert '<button type="button" class="line given" data-start="0.5" data-at="0:00">la</button>' in part.text
    [player] = re.findall(r'<audio[^>]+src="([^"]+/audio)"', part.text)
    answer = await admin.http.get(player)
    assert (answer.status_code, answer.headers["location"]) == (307, "https://cdn.example/a.mp3?auth_key=1")


@on_sqlite
async def test_only_what_has_changed_is_replaced(gateway: Running, admin: Browser, clock: ScaledClock) -> None:
    task = await gateway.submit()
    await gateway.call_back("song", song(title="Harbour Lights"), UUID(task["id"]))
    page = await admin.see(f"/console/tasks/{task['id']}")
    # What moves no mark of a task is looked at every ten seconds; the next look is from there on.
    clock.skip(11)
    part = await admin.http.get(_live(page))
    assert re.findall(r'id="(\w+)"[^>]* hx-swap-oob="true"', part.text) == ["follow"]
    assert (await admin.http.get(_live(part.text))).status_code == 204
    # A callback that could not be read has happened, and nothing is different.
    await gateway.call_back("song", b"{", UUID(task["id"]))
    part = await admin.http.get(_live(part.text))
    assert re.findall(r'id="(\w+)"[^>]* hx-swap-oob="true"', part.text) == ["follow", "history"]


@on_sqlite
async def test_it_is_told_how_long_each_file_can_be_had(gateway: Running, admin: Browser, clock: ScaledClock) -> None:
    task = await gateway.submit()
    await gateway.call_back("song", {"songs": [done()["songs"][0] | {"audio_hi_url": None}]}, UUID(task["id"]))
    path = f"/console/tasks/{task['id']}"
    words = words_of(await admin.see(path))
    assert "MP3 Download The vendor's link expires in 3 d, " in words
    assert "WAV Not ready yet." in words
    assert 'id="do-refresh"' in await admin.see(path)
    clock.skip(4 * 86_400)
    await admin.sign_in(ADMIN_KEY)
    page = await admin.see(path)
    assert "MP3 The vendor's link has expired" in words_of(page)
    assert "<audio" not in page


@on_sqlite
async def test_each_of_several_files_has_its_link(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit("stems.create")
    files = {"drums": "https://cdn.example/d.flac", "bass": ["https://cdn.example/b.flac", "javascript:alert(1)"]}
    body = {"stems": [{"item_id": "mss_1", "status": "succeeded", "stems_url": files}]}
    assert (await gateway.call_back("stems", body, UUID(task["id"]))).status_code == 200
    links = re.findall(r'<a class="given" href="([^"]+)"', await admin.see(f"/console/tasks/{task['id']}"))
    assert sorted(links) == ["https://cdn.example/b.flac", "https://cdn.example/d.flac"]


@on_sqlite
async def test_lyrics_are_had_with_their_times(gateway: Running, admin: Browser, studio: Browser) -> None:
    task = await gateway.submit()
    await gateway.call_back("song", done("a/b", title='Lights "1"'), UUID(task["id"]))
    page = await admin.see(f"/console/tasks/{task['id']}")
    found = dict(re.findall(r'<a href="([^"]+)" download="(Lights[^"]+)"', page))
    assert found == {f"/console/items/a%2Fb/lyrics.{form}": f"Lights &#34;1&#34;.{form}" for form in ("lrc", "srt")}
    assert "[00:00.50]la" in await admin.see("/console/items/a%2Fb/lyrics.lrc")
    assert "00:00:00,500 --> 00:00:02,500" in await admin.see("/console/items/a%2Fb/lyrics.srt")
    await studio.see("/console/items/a%2Fb/lyrics.lrc", 404)


@on_sqlite
@pytest.mark.real_time
async def test_an_admin_has_copies_tried_again_that_were_given_up(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = await start_gateway(archive_url=f"file://{tmp_path}", egress_allow_private=True)
    archiver = present(present(gateway.gateway.workers).archiver)
    archiver._downloader.most_bytes = 100
    async with serving_files() as files, opened(gateway.url) as browser:
        files.files["a.mp3"] = File(MP3)
        task, other = await gateway.submit(), await gateway.submit()
        for number, one in enumerate((task, other)):
            item = {"item_id": f"t2m_{number}", "status": "main_succeeded", "audio_url": files.url("a.mp3")}
            await gateway.call_back("song", {"songs": [item]}, UUID(one["id"]))

        async def copy_is(one: dict[str, Any], status: str) -> bool:
            found = await gateway.task(one["id"])
            return [item["artifacts"]["audio"]["archive"]["status"] for item in found["items"]] == [status]

        await eventually(partial(copy_is, task, "failed"))
        await eventually(partial(copy_is, other, "failed"))
        path = f"/console/tasks/{task['id']}"
        await browser.sign_in(ADMIN_KEY)
        assert 'id="do-copy-again"' in await browser.see(path)
        archiver._downloader.most_bytes = 2**20
        answer = await browser.post(f"{path}/copy-again")
        assert answer.headers["location"] == f"{path}?done=copying"
        [act] = (await gateway.api.get("/v1/audit")).json()["data"]
        assert (act["actor"], act["action"], act["target"]) == ("bootstrap", "archive.retry", task["id"])
        await eventually(partial(copy_is, task, "kept"))
        assert await copy_is(other, "failed")
        assert 'id="do-copy-again"' not in await browser.see(path)
        answer = await browser.post(f"{path}/copy-again")
        assert answer.headers["location"] == f"{path}?done=not_copied"
        made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
        await browser.sign_in(made["api_key"])
        assert (await browser.post(f"/console/tasks/{other['id']}/copy-again")).status_code == 403


@on_sqlite
@pytest.mark.real_time
async def test_kept_copies_are_played_and_a_zip_by_its_members(
    start_gateway: StartGateway, start_sandbox: StartSandbox, tmp_path: Path
) -> None:
    gateway = await start_gateway(
        await start_sandbox(scale=200), archive_url=f"file://{tmp_path}", egress_allow_private=True
    )
    tasks = [(await gateway.submit(kind))["id"] for kind in ("song.generate", "stems.create")]

    async def kept() -> list[dict[str, Any]] | None:
        found = [await gateway.task(task_id) for task_id in tasks]
        files = [[file["archive"] for item in task["items"] for file in item["artifacts"].values()] for task in found]
        return found if all(some and all(one and one["status"] == "kept" for one in some) for some in files) else None

    task, stems = await eventually(kept)
    async with opened(gateway.url) as browser:
        await browser.sign_in(ADMIN_KEY)
        page = await browser.see(f"/console/tasks/{task['id']}")
        [player] = re.findall(r'<div class="track" data-drawn>.*?<audio[^>]+src="([^"]+/audio)"', page, re.DOTALL)
        answer = await browser.http.get(player, headers={"Range": "bytes=0-99"})
        assert (answer.status_code, len(answer.content)) == (206, 100)
        assert answer.headers.get_list("cache-control") == ["private, max-age=3600"]
        copy = task["items"][0]["artifacts"]["audio"]["archive"]
        assert f"Kept here, {text.size(copy['bytes'])}" in words_of(page)
        [members] = re.findall(r'hx-get="([^"]+/members)"', await browser.see(f"/console/tasks/{stems['id']}"))
        listed = await browser.see(members)
        parts = re.findall(r'<li class="stem" data-src="([^"]+)" data-part="(\w+)"[^>]*?( data-whole)?>', listed)
        assert [(part, whole) for _, part, whole in parts] == [
            *((part, "") for part in ("vocals", "bass", "drums", "other")),
            ("originalaudio", " data-whole"),
        ]
        for source, _, _ in parts:
            assert (await browser.http.get(source)).headers["content-type"] == "audio/flac"
        made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
        await browser.sign_in(made["api_key"])
        assert "there is no such item" in words_of(await browser.see(members))
        for path in (player, parts[0][0]):
            assert (await browser.http.get(path)).status_code == 404


@on_sqlite
async def test_what_a_page_offers_is_done(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit()
    path = f"/console/tasks/{task['id']}"
    assert _offered(await admin.see(path)) == {"cancel"}
    answer = await admin.post(f"{path}/cancel")
    assert "The task is canceled." in await admin.see(answer.headers["location"])
    # The vendor has named no item to ask about.
    assert _offered(await admin.see(path)) == {"retry"}
    await admin.see((await admin.post(f"{path}/refresh")).headers["location"])
    again = [await admin.post(f"{path}/retry", once="the same form") for _ in range(2)]
    assert len({answer.headers["location"] for answer in again}) == 1
    assert task["id"] in await admin.see(again[0].headers["location"])
    assert "Only a task that is queued" in (await admin.post(f"{path}/cancel")).text


@on_sqlite
async def test_callbacks_are_shown_beside_what_each_changed(gateway: Running, admin: Browser, studio: Browser) -> None:
    task, other = await gateway.submit(), await gateway.submit()
    await gateway.call_back("song", song(title="<b>Lights</b>\u202e", odd="</pre><script>"), UUID(task["id"]))
    await gateway.call_back("song", b'{"songs": <script>', UUID(task["id"]))
    path = f"/console/tasks/{task['id']}/callbacks"
    part = await admin.see(path)
    assert not re.search("<b>|<script|\u202e", part)
    unreadable, readable = words_of(part).split(" Body ")[1:]
    assert '{"songs": <script>' in unreadable
    assert "the body is not valid JSON Nothing." in unreadable
    assert '"title": "<b>Lights</b>\ufffd"' in readable
    assert "t2m_1 status – → running new: odd, title" in readable
    [replay, _] = re.findall(r'action="([^"]+/replay)"', part)
    answer = await admin.post(replay)
    assert "still cannot be read" in await admin.see(answer.headers["location"])
    assert (await admin.post(replay.replace(task["id"], other["id"]))).status_code == 404
    await studio.see(path, 403)
    assert (await studio.post(replay)).status_code == 403


@on_sqlite
async def test_a_notification_is_sent_again_from_the_page(gateway: Running, admin: Browser, studio: Browser) -> None:
    task, other = await gateway.submit(webhook_url=WEBHOOK), await gateway.submit()
    await gateway.api.post(f"/v1/tasks/{task['id']}/cancel")
    page = await admin.see(f"/console/tasks/{task['id']}")
    assert "No attempt yet." in page
    # One that is pending is sent anyway.
    assert "/redeliver" not in page
    [told] = re.findall(r"/console/notifications/([\w-]{36})", page)
    path = f"/console/tasks/{task['id']}/notifications/{told}/redeliver"
    answer = await admin.post(path)
    assert answer.headers["location"].endswith("?done=redelivered#notifications")
    assert (await admin.post(path.replace(task["id"], other["id"]))).status_code == 404
    assert (await studio.post(path)).status_code == 404


@on_sqlite
async def test_an_unconfirmed_task_is_settled_by_hand(start_gateway: StartGateway, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=600, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "submit", "reset": True, "accept": True, "times": 2}])
    gateway = await start_gateway(sandbox)
    found, lost = [(await gateway.submit())["id"] for _ in range(2)]
    for task_id in (found, lost):
        await gateway.until(task_id, "unconfirmed")
    async with opened(gateway.url) as browser:
        await browser.sign_in(ADMIN_KEY)
        path = f"/console/tasks/{found}/resolve"
        assert _offered(await browser.see(f"/console/tasks/{found}")) == {"resolve-sent", "resolve-not-sent"}
        item_id = next(iter(sandbox.works)).item_ids[0]
        for form in ({"outcome": "sent", "item_id": item_id}, {"outcome": "not_sent"}, {"sure": "on"}):
            assert (await browser.post(path, **form)).status_code == 422, form
        assert (await browser.post(path, outcome="sent", sure="on", item_id="")).status_code == 422
        assert (await gateway.task(found))["status"] == "unconfirmed"
        answer = await browser.post(path, outcome="sent", sure="on", item_id=item_id)
        assert "It is settled." in await browser.see(answer.headers["location"])
        assert (await gateway.task(found))["items"][0]["item_id"] == item_id
        await browser.post(f"/console/tasks/{lost}/resolve", outcome="not_sent", sure="on")
        resolved = [entry["detail"] for entry in await gateway.timeline(lost) if entry["type"] == "resolved"]
        assert resolved == [{"not_sent": True}]
        assert (await browser.post(path, outcome="not_sent", sure="on")).status_code == 409
        made = (await gateway.api.post("/v1/clients", json={"name": "studio"})).json()
        await browser.sign_in(made["api_key"])
        assert (await browser.post(path, outcome="not_sent", sure="on")).status_code == 403


def _offered(page: str) -> set[str]:
    return set(re.findall(r'id="do-([\w-]+)"', page))
