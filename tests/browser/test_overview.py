"""The overview in a real browser: a day drawn, followed without a reload, for keyboard and phone."""

from tests.browser.one_loop import ON_ONE_LOOP, fixture
from tests.browser.watched import Looks, Watched
from tests.support.databases import on_sqlite
from tests.support.gateway import Running
from tests.support.past import a_busy_day

pytestmark = ON_ONE_LOOP


@fixture
async def gateway(gateway: Running) -> Running:
    """A gateway with a past, whose submissions stand still."""
    context = gateway.gateway.context
    await context.db.write(a_busy_day, context.clock.now())
    await gateway.api.post("/v1/submissions/hold", json={"reason": "maintenance"})
    return gateway


@on_sqlite
async def test_a_day_is_drawn_and_followed(watched: Watched, gateway: Running, looks: Looks) -> None:
    page = watched.page

    async def load() -> None:
        await page.goto("/console")
        await page.get_by_text("points").wait_for()
        await page.get_by_text("Live", exact=True).wait_for()
        await page.wait_for_function("() => !document.body.textContent.includes('to be read')", timeout=60_000)

    await looks.fits(page, "overview-day", load)
    # Times of plots are told in the reader's zone, and in his way.
    assert await page.locator(".zone").first.inner_text() == "times in MEZ"
    column = page.locator("#part-hour svg").first.locator("g").last.locator("title")
    [local, utc] = await column.evaluate("one => [one.textContent, one.dataset.clock]")
    assert int(local[:2]) == (int(utc[11:13]) + 1) % 24
    # What somebody has opened stays open when the next survey comes, and who goes by keyboard stays where he was.
    await page.evaluate("window.sameDocument = true")
    table = page.locator("#table-hour-arrivals summary")
    await table.focus()
    await page.keyboard.press("Enter")
    queued = page.locator("#open-queued .number")
    assert await queued.inner_text() == "0"
    await gateway.submit()
    await page.wait_for_function(
        "() => document.querySelector('#open-queued .number').textContent === '1'", timeout=20_000
    )
    assert await page.locator("#table-hour-arrivals").get_attribute("open") is not None
    assert await page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert await page.evaluate("window.sameDocument") is True
    assert watched.faults == []


@on_sqlite
async def test_a_page_in_the_background_holds_no_connection(watched: Watched, gateway: Running) -> None:
    page, watch = watched.page, gateway.gateway.services.watch
    await page.get_by_text("Live", exact=True).wait_for()
    assert watch.pages == 1
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    for hidden, count in ((True, 0), (False, 1)):
        await page.evaluate(hide, hidden)
        for _ in range(100):
            if watch.pages == count:
                break
            await page.wait_for_timeout(50)
        assert watch.pages == count
    assert watched.faults == []
