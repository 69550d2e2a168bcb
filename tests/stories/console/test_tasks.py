"""The tasks as a gallery or a table: what is found by what, page by page, and whose they are."""

import re
from uuid import UUID

from tests.stories.console.browser import Browser, words_of
from tests.support.databases import on_sqlite
from tests.support.gateway import SONG, Running
from tests.support.song_callbacks import done


def _shown(page: str) -> list[str]:
    return re.findall(r'class="task" href="/console/tasks/([\w-]+)"', page)


def _older(page: str) -> str:
    [older] = re.findall(r'href="([^"]+)" rel="next"', page)
    return older.replace("&amp;", "&")


@on_sqlite
async def test_a_task_is_found_by_status_kind_reference_and_item(gateway: Running, admin: Browser) -> None:
    songs = [await gateway.submit(reference=f"order-{n}") for n in range(25)]
    midi = await gateway.submit("midi.create")
    await gateway.call_back("midi", {"midis": [{"item_id": "mid/1", "status": "running"}]}, UUID(midi["id"]))
    for view in ("gallery", "table"):
        first = await admin.see(f"/console/tasks?status=queued&kind=song.generate&reference=&find=&view={view}")
        assert _shown(first) == [task["id"] for task in reversed(songs)][:24]
        assert ('class="gallery"' in first, "<table" in first) == (view == "gallery", view == "table")
        older = _older(first)
        assert f"view={view}" in older
        assert _shown(await admin.see(older)) == [songs[0]["id"]]
    assert _shown(await admin.see("/console/tasks?status=running")) == [midi["id"]]
    assert _shown(await admin.see("/console/tasks?reference=order-7")) == [songs[7]["id"]]
    assert _shown(await admin.see("/console/tasks?find=order-7")) == [songs[7]["id"]]
    for found in ("mid/1", midi["id"]):
        answer = await admin.http.get("/console/tasks", params={"find": found})
        assert answer.headers["location"] == f"/console/tasks/{midi['id']}"
    page = await admin.see("/console/tasks?status=running&status=failed")
    assert _shown(page) == [midi["id"]]
    assert '<option value="running,failed" selected>Running, Failed</option>' in page
    assert _shown(await admin.see("/console/tasks?status=running%2Cfailed")) == [midi["id"]]
    await admin.see("/console/tasks?cursor=x", 400)
    await admin.see("/console/tasks?find=%00", 404)


@on_sqlite
async def test_words_are_looked_for_in_titles_and_prompts(gateway: Running, admin: Browser, studio: Browser) -> None:
    by_prompt = await gateway.submit(params={**SONG, "prompt": "A HARBOUR at night"})
    by_title = await gateway.submit(reference="order-1")
    await gateway.call_back("song", done("t2m_1", title="Old Harbour Lights"), UUID(by_title["id"]))
    by_reference = await gateway.submit(reference="the-harbour-order")
    await gateway.submit(metadata={"place": "harbour"})
    page = await admin.see("/console/tasks?find=harbour")
    assert _shown(page) == [task["id"] for task in (by_reference, by_title, by_prompt)]
    assert "3 with “ harbour ” among the 4 newest tasks" in words_of(page)
    assert _shown(await admin.see("/console/tasks?find=harbour&status=queued")) == [by_reference["id"], by_prompt["id"]]
    page = await studio.see("/console/tasks?find=harbour")
    assert (_shown(page), "among 0 newest tasks" in words_of(page)) == ([], True)
    # Nor is it told that another client has such a reference.
    assert "among 0 newest tasks" in words_of(await studio.see("/console/tasks?find=order-1"))
    # More than one page of them: the next one goes on where this one ended.
    more = [await gateway.submit(params={**SONG, "prompt": "ocean"}) for _ in range(25)]
    first = await admin.see("/console/tasks?find=OCEAN")
    assert _shown(first) == [task["id"] for task in reversed(more)][:24]
    assert _shown(await admin.see(_older(first))) == [more[0]["id"]]
    await admin.see(_older(first).replace("OCEAN", "other"), 400)


@on_sqlite
async def test_what_can_be_played_has_a_button(gateway: Running, admin: Browser) -> None:
    task = await gateway.submit()
    assert 'class="play"' not in await admin.see("/console/tasks")
    await gateway.call_back("song", done("t2m/1", title='Say "<b>"'), UUID(task["id"]))
    for view in ("gallery", "table"):
        [button] = re.findall(r'<button[^>]*class="play"[^>]*>', await admin.see(f"/console/tasks?view={view}"))
        assert 'data-src="/console/items/t2m%2F1/files/audio"' in button
        assert 'aria-label="Play Say &#34;&lt;b&gt;&#34;"' in button
        # It comes from elsewhere: no script of the page may read it.
        assert "data-drawn" not in button


@on_sqlite
async def test_a_task_without_a_title_is_called_by_its_file(gateway: Running, admin: Browser) -> None:
    for url in ("https://files.example/a/harbour%20lights.mp3?auth_key=1#t", "https://files.example/"):
        await gateway.submit("stems.create", params={"url": url})
    page = await admin.see("/console/tasks")
    assert re.findall(r'<span class="name given">([^<]*)</span>', page) == ["files.example", "harbour lights.mp3"]
