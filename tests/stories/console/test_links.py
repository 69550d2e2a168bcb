"""A link that signs in to the console once: good for a quarter of an hour and for one, and never a key."""

import httpx

from app.audit.audit import Actor
from app.clients import tickets
from tests.stories.console.browser import Browser, opened, words_of
from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import ADMIN_KEY, Running


async def _link(gateway: Running, name: str = "bootstrap") -> str:
    context = gateway.gateway.context
    issued = await tickets.issue_for_console(context.db, context.clock, Actor("cli:root"), name)
    return tickets.link(gateway.url, issued)


async def _follow(browser: Browser, link: str) -> httpx.Response:
    """What a browser does with a link: the page, and its form with what stands behind the #."""
    page, _, ticket = link.partition("#")
    shown = await browser.http.get(page)
    assert (shown.status_code, ticket in shown.text, "set-cookie" in shown.headers) == (200, False, False)
    return await browser.http.post("/console/link", data={"ticket": ticket})


async def test_a_link_signs_in_once(gateway: Running) -> None:
    link = await _link(gateway)
    assert ADMIN_KEY not in link
    async with opened(gateway.url) as first, opened(gateway.url) as second:
        # Whatever only looks at it, a preview say, does not use it up.
        for _ in range(3):
            await first.http.head(link)
            await first.http.get(link)
        answer = await _follow(first, link)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")
        assert "bootstrap" in words_of(await first.see("/console"))
        for browser in (second, first):
            again = await _follow(browser, link)
            assert (again.status_code, "set-cookie" in again.headers) == (401, False)
            assert "no longer good" in words_of(again.text)
        assert (await second.http.get("/console")).status_code == 303


@on_sqlite
async def test_a_link_is_of_one_client_and_ends_with_its_key(gateway: Running, studio: Browser) -> None:
    link, late = await _link(gateway, "studio"), await _link(gateway, "studio")
    async with opened(gateway.url) as browser:
        await _follow(browser, link)
        assert "In flight" not in await browser.see("/console")
        assert "studio" in words_of(await browser.see("/console"))
        assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
        assert (await browser.http.get("/console")).status_code == 303
        assert (await _follow(browser, late)).status_code == 401
    acts = (await gateway.api.get("/v1/audit")).json()["data"]
    assert [act["target"] for act in acts if act["action"] == "console.link"] == ["studio", "studio"]


@on_sqlite
async def test_a_link_is_good_for_a_quarter_of_an_hour(gateway: Running, clock: ScaledClock) -> None:
    early, late = await _link(gateway), await _link(gateway)
    async with opened(gateway.url) as browser:
        clock.skip(15 * 60 - 2)
        assert (await _follow(browser, early)).status_code == 303
        clock.skip(3)
        assert (await _follow(browser, late)).status_code == 401


@on_sqlite
async def test_forged_links_are_refused_and_counted_like_wrong_keys(gateway: Running) -> None:
    gateway.gateway.services.meter.most_failures = 4
    stream = (await gateway.api.post("/v1/stream-tickets")).json()["ticket"]
    good = await _link(gateway)
    async with opened(gateway.url) as browser:
        for forged in ("", ADMIN_KEY, stream, good[:-1] + ("A" if good[-1] != "A" else "B")):
            answer = await browser.http.post("/console/link", data={"ticket": forged})
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False), forged
        answer = await browser.http.post("/console/link", data={"ticket": "tpc_x"})
        assert (answer.status_code, answer.headers["retry-after"].isdigit()) == (429, True)
        # A right one is never throttled, also where the whole link was pasted; and another site cannot post it.
        elsewhere = await browser.http.post(
            "/console/link", data={"ticket": good}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert elsewhere.status_code == 403
        assert (await browser.http.post("/console/link", data={"ticket": good})).status_code == 303
    # The other way round: what signs in to the console opens no stream.
    ticket = (await _link(gateway)).partition("#")[2]
    answer = await gateway.api.get("/v1/stream", params={"ticket": ticket}, headers={"Authorization": ""})
    assert answer.status_code in (401, 429)
