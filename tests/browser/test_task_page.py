"""A task's page and the gallery in a real browser: heard, looked at, and put right; by pointer and by keys."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tests.browser.one_loop import ON_ONE_LOOP, fixture
from tests.browser.watched import Looks, Watched, parts_have_come, signed_in
from tests.support.databases import on_sqlite
from tests.support.direct_sql import Direct
from tests.support.gateway import ADMIN_KEY, Running, eventually
from tests.support.song_callbacks import done
from tests.support.start_fixtures import StartGateway, StartSandbox

pytestmark = ON_ONE_LOOP

SILENT_S: Final = 0.25
OPEN_AS_A_PART_COMES: Final = """() => new Promise(done => {
    const by_hand = document.getElementById("resolve");
    const open = () => setTimeout(() => {
        by_hand.querySelector("summary").click();
        setTimeout(() => done(by_hand.open), 100);
    });
    document.addEventListener("htmx:afterSwap", open, { once: true });
    htmx.trigger(document.body, "task-changed");
})"""
PLACE: Final = "document.querySelector('.track audio').currentTime"


@fixture
async def gateway(start_gateway: StartGateway, start_sandbox: StartSandbox, tmp_path: Path) -> Running:
    """A gateway that keeps copies, in front of a sandbox whose songs take a second or two."""
    sandbox = await start_sandbox(scale=100)
    return await start_gateway(sandbox, archive_url=f"file://{tmp_path / 'archive'}", egress_allow_private=True)


@fixture
async def watched(chromium: Any, gateway: Running) -> AsyncIterator[Watched]:
    async with signed_in(chromium, gateway) as watched:
        yield watched
        assert watched.faults == []


async def _kept(gateway: Running, task_id: str) -> dict[str, Any]:
    """A task, once all of its files are kept."""

    async def kept() -> dict[str, Any] | None:
        task = await gateway.task(task_id)
        files = [file["archive"] for item in task["items"] for file in item["artifacts"].values()]
        return task if files and all(one and one["status"] == "kept" for one in files) else None

    return await eventually(kept, 30)


@on_sqlite
async def test_a_song_is_heard_and_sought_by_its_waveform_and_by_keys(watched: Watched, gateway: Running) -> None:
    page, task = watched.page, await gateway.submit()
    await _kept(gateway, task["id"])
    await page.goto(f"/console/tasks/{task['id']}")
    place = page.get_by_role("slider", name="Place in MP3")
    # Its length is known once the waveform is drawn, before anything is played.
    await page.wait_for_function("() => document.querySelector('.seek').ariaValueMax === '8'")
    box = await place.bounding_box()
    await page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    await page.wait_for_function(f"() => Math.abs({PLACE} - 6) < 0.3")
    assert await page.evaluate("document.querySelector('.track audio').paused") is True
    await place.focus()
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowRight")
    await page.wait_for_function(f"() => Math.abs({PLACE} - 5) < 0.3")
    await page.wait_for_function("() => document.querySelector('.seek').ariaValueText === '0:05 of 0:08'")
    await page.keyboard.press("Space")
    await page.get_by_role("button", name="Pause MP3").wait_for()
    await page.wait_for_function(f"() => {PLACE} > 5.5")
    # One at a time.
    await page.get_by_role("button", name="Play WAV").click()
    await page.get_by_role("button", name="Play MP3").wait_for()
    await page.get_by_role("button", name="Pause WAV").wait_for()


@on_sqlite
async def test_a_player_plays_on_while_the_page_around_it_changes(watched: Watched, gateway: Running) -> None:
    page, task = watched.page, await gateway.submit()
    [item] = (await _kept(gateway, task["id"]))["items"]
    # Something is still to come, so that the page looks again.
    body = {"songs": [{"item_id": "t2m_more", "status": "running"}]}
    await gateway.call_back("song", body, UUID(task["id"]))
    await page.goto(f"/console/tasks/{task['id']}")
    await page.get_by_role("button", name="Play MP3").click()
    await page.wait_for_function(f"() => {PLACE} > 0.3")
    body = {"songs": [{"item_id": item["item_id"], "title": "Another Title", "status": "succeeded"}]}
    await gateway.call_back("song", body, UUID(task["id"]))
    await page.get_by_role("heading", name="Another Title").first.wait_for(timeout=10_000)
    heard = await page.evaluate(PLACE)
    assert heard > 0.3
    await page.wait_for_function(f"() => {PLACE} > {heard + 0.2}")
    await page.get_by_role("button", name="Pause MP3").wait_for()


@on_sqlite
async def test_stems_play_together_and_one_is_heard_alone(watched: Watched, gateway: Running) -> None:
    page, task = watched.page, await gateway.submit("stems.create")
    await _kept(gateway, task["id"])
    await page.goto(f"/console/tasks/{task['id']}")
    play = page.get_by_role("button", name="Play all stems together")
    # By keys alone.
    await play.focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Pause all stems together").wait_for()
    await page.wait_for_function("() => parseInt(document.querySelector('.transport .seek').ariaValueNow) >= 1")
    levels = """() => document.querySelector('.mixer').mixer.stems.map(
        stem => [stem.row.dataset.part, stem.gain.gain.value > 0.9 ? 1 : stem.gain.gain.value < 0.1 ? 0 : 0.5])"""
    all_parts = {"vocals": 1, "bass": 1, "drums": 1, "other": 1, "originalaudio": 0}
    assert dict(await page.evaluate(levels)) == all_parts
    solo = page.get_by_role("button", name="Solo bass")
    await solo.focus()
    await page.keyboard.press("Space")
    assert await solo.get_attribute("aria-pressed") == "true"
    await page.wait_for_timeout(SILENT_S * 1000)
    assert dict(await page.evaluate(levels)) == dict.fromkeys(all_parts, 0) | {"bass": 1}
    await solo.click()
    await page.get_by_role("button", name="Mute drums").click()
    await page.wait_for_timeout(SILENT_S * 1000)
    assert dict(await page.evaluate(levels)) == all_parts | {"drums": 0}
    # All of them go where one goes.
    await page.get_by_role("slider", name="Place in all stems").focus()
    await page.keyboard.press("Home")
    await page.wait_for_function("() => parseInt(document.querySelector('.transport .seek').ariaValueNow) < 1")
    started = await page.evaluate("document.querySelector('.mixer').mixer.startedAt")
    assert started is not None


@on_sqlite
async def test_the_gallery_plays_in_place_one_at_a_time(watched: Watched, gateway: Running) -> None:
    page = watched.page
    for _ in range(2):
        await _kept(gateway, (await gateway.submit())["id"])
    await page.goto("/console/tasks")
    buttons = page.locator(".gallery .play")
    await buttons.first.click()
    await page.wait_for_function("() => document.querySelector('#now-playing audio').currentTime > 0.2")
    await buttons.nth(1).click()
    await page.wait_for_function("() => document.querySelector('#now-playing audio').currentTime > 0.2")
    assert await page.locator("#now-playing audio").count() == 1
    assert (await buttons.first.get_attribute("aria-label") or "").startswith("Play ")
    assert (await buttons.nth(1).get_attribute("aria-label") or "").startswith("Pause ")
    await buttons.nth(1).click()
    assert await page.evaluate("document.querySelector('#now-playing audio').paused") is True
    await page.get_by_role("link", name="Table").click()
    await page.wait_for_url("**view=table")
    await page.locator("table .play").first.click()
    await page.wait_for_function("() => document.querySelector('#now-playing audio').currentTime > 0.2")


@on_sqlite
async def test_a_malformed_callback_is_read_again_and_a_dead_notification_sent_again(
    watched: Watched, gateway: Running, db: Direct
) -> None:
    page, task = watched.page, await gateway.submit(webhook_url="http://127.0.0.1:9/hooks")
    await gateway.until(task["id"], "succeeded")
    assert (await gateway.call_back("song", b'{"songs": [', UUID(task["id"]))).status_code == 400
    await db.execute("UPDATE notifications SET status = 'dead', due_at = NULL")
    await page.goto(f"/console/tasks/{task['id']}")
    broken = page.locator(".callback", has_text="Malformed")
    await broken.get_by_role("button", name="Replay").click()
    await page.get_by_text("was replayed, and still cannot be read").wait_for()
    assert any(entry["action"] == "callbacks.replay" for entry in await _audit(gateway))
    again = page.get_by_role("button", name="Send again task.succeeded")
    await again.click()
    await page.get_by_text("It is queued to be sent again.").wait_for()
    sent = page.locator(".told", has_text="task.succeeded")
    await sent.get_by_text("Pending").wait_for()
    await sent.get_by_text("no answer").first.wait_for(timeout=15_000)


async def _audit(gateway: Running) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await gateway.api.get("/v1/audit")).json()["data"]
    return entries


@on_sqlite
async def test_an_unconfirmed_task_is_settled_only_after_a_look(
    chromium: Any, start_gateway: StartGateway, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=100, callbacks={"drop": 1})
    sandbox.add_rules(answers=[{"operation": "submit", "reset": True, "accept": True, "times": 1}])
    gateway = await start_gateway(sandbox, egress_allow_private=True)
    task = await gateway.submit()
    await gateway.until(task["id"], "unconfirmed")
    context = await chromium.new_context(base_url=gateway.url)
    page = await context.new_page()
    await page.goto(f"/console/sign-in?next=/console/tasks/{task['id']}")
    await page.get_by_label("API key").fill(ADMIN_KEY)
    await page.keyboard.press("Enter")
    await page.get_by_text("Resolve by hand").wait_for()
    await parts_have_come(page)
    # It stays open, though its callbacks come just then.
    assert await page.evaluate(OPEN_AS_A_PART_COMES) is True
    await page.get_by_label("The work's id").fill(next(iter(sandbox.works)).item_ids[0])
    follow = page.get_by_role("button", name="Follow this work")
    await follow.click()
    # The browser asks for the tick, and nothing was sent.
    assert (await gateway.task(task["id"]))["status"] == "unconfirmed"
    await page.get_by_label("this work belongs to this submission").check()
    await follow.click()
    await page.get_by_text("It is settled.").wait_for()
    await page.get_by_text("All its files are ready.").wait_for(timeout=30_000)
    await context.close()


HOSTILE: Final = {
    "title": "<img src=x onerror=alert(1)>\u202e" + "W" * 400,
    "style": "\u2067" + "s" * 900,
    "lyrics": "Ω" * 5_000,
    "odd": {"<script>": "</pre><script>alert(2)</script>"},
    "lyrics_sections": [{"start": at, "text": "x" * 400} for at in range(20)],
}


@on_sqlite
async def test_task_pages_fit_whatever_they_hold(watched: Watched, gateway: Running, looks: Looks) -> None:
    page = watched.page
    song = await gateway.submit(reference="order-17", webhook_url="http://127.0.0.1:9/hooks")
    stems, midi = [await gateway.submit(kind) for kind in ("stems.create", "midi.create")]
    for task in (song, stems, midi):
        await _kept(gateway, task["id"])
    hostile = await gateway.submit(reference="\u202e" + "z" * 250, params={"prompt": "y" * 1_000, "model": "m" * 100})
    await gateway.until(hostile["id"], "running", "main_succeeded", "succeeded")
    body = done("i" * 200)["songs"][0] | HOSTILE
    assert (await gateway.call_back("song", {"songs": [body]}, UUID(hostile["id"]))).status_code == 200
    paths = {"gallery": "", "table": "?view=table", "found": "?find=piano"}
    made = {"a-song": song, "stems": stems, "midi": midi, "hostile": hostile}
    paths |= {name: f"/{task['id']}" for name, task in made.items()}
    for name, path in paths.items():

        async def load(path: str = path) -> None:
            await page.goto(f"/console/tasks{path}")
            await parts_have_come(page)

        await looks.fits(page, f"task-{name}", load)
