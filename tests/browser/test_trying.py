"""For somebody who has never seen it: the link, a file that is handed over, a call of the API, all in the browser."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from app.audit.audit import Actor
from app.clients import tickets
from tests.browser.one_loop import ON_ONE_LOOP, fixture
from tests.browser.watched import Looks, Watched, signed_in
from tests.support.databases import on_sqlite
from tests.support.gateway import Running
from tests.support.start_fixtures import StartGateway, StartSandbox

pytestmark = ON_ONE_LOOP

MP3 = b"ID3\x04" + bytes(300_000)
DROP = """([zone, name, bytes]) => {
    const carried = new DataTransfer();
    carried.items.add(new File([new Uint8Array(bytes)], name));
    for (const type of ["dragenter", "dragover", "drop"]) {
        zone.dispatchEvent(new DragEvent(type, { dataTransfer: carried, bubbles: true, cancelable: true }));
    }
}"""


@fixture
async def gateway(start_gateway: StartGateway, start_sandbox: StartSandbox, tmp_path: Path) -> Running:
    sandbox = await start_sandbox(scale=60)
    return await start_gateway(sandbox, egress_allow_private=True, archive_url=f"file://{tmp_path / 'archive'}")


@fixture
async def watched(chromium: Any, gateway: Running) -> AsyncIterator[Watched]:
    async with signed_in(chromium, gateway) as watched:
        yield watched


@on_sqlite
async def test_a_link_opens_the_console_at_one_press_and_only_once(
    chromium: Any, gateway: Running, looks: Looks
) -> None:
    context = gateway.gateway.context
    issued = await tickets.issue_for_console(context.db, context.clock, Actor("cli:root"), "bootstrap")
    for number in range(2):
        browser = await chromium.new_context(base_url=gateway.url)
        watched = Watched(await browser.new_page(), gateway.url)
        asked: list[str] = []
        watched.page.on("request", lambda request, asked=asked: asked.append(f"{request.url} {request.headers}"))
        await watched.page.goto(tickets.link(gateway.url, issued))
        await watched.page.wait_for_function("() => location.hash === ''")
        await looks.keep(watched.page, "link", full_page=False)
        # Nobody was sent the code, and the address does not keep it.
        assert issued.ticket not in "".join(asked) + watched.page.url
        assert await watched.page.evaluate("document.activeElement.textContent") == "Open the console"
        await watched.page.keyboard.press("Enter")
        if number == 0:
            await watched.page.wait_for_url("**/console")
            await watched.page.get_by_role("heading", name="Overview").wait_for()
            assert watched.faults == []
        else:
            await watched.page.get_by_role("heading", name="This link is no longer good").wait_for()
            await looks.keep(watched.page, "link-used", full_page=False)
        await browser.close()


@on_sqlite
async def test_a_file_is_dropped_or_chosen_and_taken_apart(
    watched: Watched, gateway: Running, looks: Looks, tmp_path: Path
) -> None:
    page = watched.page
    await page.goto("/console/try/stems.create")
    field, state = page.get_by_label("Audio file", exact=True), page.locator(".state")
    zone = await page.locator(".drop").element_handle()
    await page.evaluate(DROP, [zone, "notes.txt", list(b"words")])
    assert await state.inner_text() == "notes.txt is not mp3, WAV or FLAC."
    # It calls itself one, and is none: the gateway says so.
    await page.evaluate(DROP, [zone, "false.mp3", list(b"MZ" + bytes(100))])
    await page.get_by_text("Not uploaded: ").wait_for()
    assert "is not mp3, WAV or FLAC" in await state.inner_text()
    assert len(watched.faults) == 1
    watched.faults.clear()  # the browser's own line about an answer of 422
    await page.evaluate(DROP, [zone, "harbour.mp3", list(MP3[:5000])])
    await page.get_by_text("harbour.mp3 is uploaded").wait_for()
    dropped = await field.input_value()
    (tmp_path / "lights.mp3").write_bytes(MP3)
    await page.get_by_label("Audio file: choose a file").set_input_files(tmp_path / "lights.mp3")
    await page.get_by_text("lights.mp3 is uploaded (300 KB)").wait_for()
    assert await field.input_value() not in ("", dropped)
    await looks.keep(page, "uploaded")
    await page.get_by_role("button", name="Submit").click()
    await page.wait_for_url("**/console/tasks/*")
    task = await gateway.task(page.url.rpartition("/")[2].partition("?")[0])
    assert task["params"]["url"].startswith("upload:")
    assert watched.faults == []


@on_sqlite
async def test_a_file_is_handed_over_without_scripts(chromium: Any, gateway: Running, tmp_path: Path) -> None:
    async with signed_in(chromium, gateway, java_script_enabled=False) as watched:
        page = watched.page
        await page.goto("/console/try/song.generate")
        await page.locator("summary").click()
        (tmp_path / "false.mp3").write_bytes(b"MZ" + bytes(100))
        await page.get_by_label("Track to cover: choose a file").set_input_files(tmp_path / "false.mp3")
        await page.get_by_role("button", name="Submit").click()
        await page.get_by_text("Track to cover: the body is not mp3, WAV or FLAC").wait_for()
        watched.faults.clear()  # the browser's own line about an answer of 422
        (tmp_path / "lights.mp3").write_bytes(MP3)
        await page.get_by_label("Track to cover: choose a file").set_input_files(tmp_path / "lights.mp3")
        await page.get_by_role("button", name="Submit").click()
        await page.wait_for_url("**/console/tasks/*")
        params = (await gateway.task(page.url.rpartition("/")[2].partition("?")[0]))["params"]
        assert params["upload_audio_url"].startswith("upload:")
        assert params["action"] == "upload_cover"
        assert watched.faults == []


@on_sqlite
async def test_an_upload_shows_how_far_it_is_and_can_be_stopped(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    session = await page.context.new_cdp_session(page)
    await page.goto("/console/try/stems.create")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    await session.send("Network.emulateNetworkConditions", slow)
    (tmp_path / "long.mp3").write_bytes(b"ID3\x04" + bytes(3_000_000))
    await page.get_by_label("Audio file: choose a file").set_input_files(tmp_path / "long.mp3")
    await page.wait_for_function("() => document.querySelector('progress').value > 1")
    assert await page.get_by_role("button", name="Submit").is_disabled()
    await page.get_by_role("button", name="Stop").click()
    await page.get_by_text("Stopped.").wait_for()
    assert await page.get_by_role("button", name="Submit").is_enabled()
    assert await page.get_by_label("Audio file", exact=True).input_value() == ""


@on_sqlite
async def test_a_track_to_cover_sets_what_makes_it_a_cover(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    await page.goto("/console/try/song.generate")
    await page.locator("summary").click()
    (tmp_path / "a.mp3").write_bytes(MP3[:100])
    await page.get_by_label("Track to cover: choose a file").set_input_files(tmp_path / "a.mp3")
    await page.get_by_text("a.mp3 is uploaded").wait_for()
    assert await page.get_by_label("Action").input_value() == "upload_cover"


@on_sqlite
async def test_the_reference_calls_the_api_as_who_is_signed_in(
    watched: Watched, gateway: Running, looks: Looks
) -> None:
    page = watched.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.get_by_role("link", name="API", exact=True).click()
    call = page.locator("#operations-Account-getMe")
    await call.get_by_role("button", name="/v1/me").first.click()
    await call.get_by_role("button", name="Try it out").click()
    await call.get_by_role("button", name="Execute").click()
    await call.get_by_text('"bootstrap"').first.wait_for()
    # What it shows is what a service would send.
    curl = await call.locator(".curl").inner_text()
    assert f"{gateway.url}/v1/me" in curl
    assert "csrf" not in curl.lower()
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        await looks.keep(page, f"api-called-{scheme}", full_page=False)
    call = page.locator("#operations-Tasks-createTask")
    await call.get_by_role("button", name="/v1/tasks").first.click()
    await call.get_by_role("button", name="Try it out").click()
    body = {"kind": "lyrics.generate", "params": {"prompt": "rain"}}
    await call.locator("textarea.body-param__text").fill(json.dumps(body))
    await call.get_by_role("button", name="Execute").click()
    await call.get_by_text('"queued"').first.wait_for()
    [task] = (await gateway.api.get("/v1/tasks")).json()["data"]
    assert (task["kind"], task["client"]) == ("lyrics.generate", "bootstrap")
    assert all(url.startswith((gateway.url, "data:", "blob:")) for url in asked)
    assert watched.faults == []
