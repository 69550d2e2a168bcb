"""The console in a real browser: from the form to a song that plays, with nothing to scroll for on a phone."""

from uuid import UUID

from tests.browser.one_loop import ON_ONE_LOOP
from tests.browser.watched import Looks, Watched
from tests.support.databases import on_sqlite
from tests.support.gateway import Running

pytestmark = ON_ONE_LOOP


@on_sqlite
async def test_a_song_is_ordered_followed_and_heard(watched: Watched, gateway: Running) -> None:
    page = watched.page
    await page.get_by_role("link", name="Try it").click()
    await page.get_by_label("Prompt").fill("a harbour at night, piano")
    await page.get_by_label("Model").fill("tempolor-latest")
    await page.get_by_role("button", name="Submit").click()
    await page.wait_for_url("**/console/tasks/*")
    await page.evaluate("window.sameDocument = true")
    badge = page.locator(".heading .badge").first
    assert await badge.inner_text() in ("Queued", "Being sent", "Running")
    await page.locator(".lyrics .line").first.wait_for(timeout=30_000)
    await page.get_by_text("All its files are ready.").wait_for(timeout=30_000)
    assert await badge.inner_text() == "Done"
    assert await page.evaluate("window.sameDocument") is True
    await _shorten_lyrics(gateway, page.url.rpartition("/")[2].partition("?")[0])
    await page.reload()
    lines = page.locator(".lyrics .line")
    await lines.nth(1).click()
    for sung in (1, 2):
        await page.wait_for_function(
            "sung => document.querySelectorAll('.line')[sung].ariaCurrent === 'true'", arg=sung, timeout=10_000
        )
    assert await page.evaluate("document.querySelector('audio').currentTime") >= 4
    # The time is told as its reader writes it.
    assert "UTC" not in await page.locator(".facts time").first.inner_text()
    assert watched.faults == []


async def _shorten_lyrics(gateway: Running, task_id: str) -> None:
    """Align a song's lyrics with what the sandbox lets one hear of it: eight seconds."""
    [item] = (await gateway.task(task_id))["items"]
    lines = [{"start": start, "end": start + 1, "text": f"line {start}"} for start in (1, 3, 4, 7)]
    body = {"songs": [{"item_id": item["item_id"], "status": "succeeded", "lyrics_sections": lines}]}
    assert (await gateway.call_back("song", body, UUID(task_id))).status_code == 200


@on_sqlite
async def test_pages_fit_and_are_looked_at(watched: Watched, gateway: Running, looks: Looks) -> None:
    page, made = watched.page, {}
    made["song"] = (await gateway.submit(reference="order-17", webhook_url="http://127.0.0.1:9/hooks"))["id"]
    await gateway.until(made["song"], "succeeded", timeout_s=30)
    made["long"] = (await gateway.submit("stems.create", reference="x" * 250))["id"]
    words = {"title": "\u202e" + "W" * 64_000, "lyrics": "Ω" * 64_000, "style": "s" * 900}
    body = {"stems": [{"item_id": "i" * 200, "status": "failed", "err_msg": "no " + "t" * 500, **words}]}
    await gateway.call_back("stems", body, UUID(made["long"]))
    await gateway.call_back("stems", b"{", UUID(made["long"]))
    await gateway.api.post("/v1/submissions/hold", json={"reason": "maintenance"})
    made["queued"] = (await gateway.submit("lyrics.generate"))["id"]
    paths = {"overview": "", "tasks": "/tasks", "try": "/try/song.generate", "inbox": "/callbacks"}
    paths |= {name: f"/tasks/{task_id}" for name, task_id in made.items()} | {"notifications": "/notifications"}
    for name, path in paths.items():

        async def load(name: str = name, path: str = path) -> None:
            await page.goto(f"/console{path}")
            if name == "overview":
                await page.get_by_text("points").wait_for()

        await looks.fits(page, name, load)
    assert watched.faults == []
