"""The overview: its figures are those of what happened, for whom they are, looked up once, and followed."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.console import overview_live
from app.console.time_series import HOUR
from tests.stories.console.browser import Browser, opened, words_of
from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import ADMIN_KEY, SONG, Running
from tests.support.past import Past, a_busy_day
from tests.support.song_callbacks import done, song

STREAM: Final = "/console/overview/stream"
PLAYABLE: Final = {"status": "main_succeeded", "audio_url": "https://cdn.example/a.mp3"}


class Followed:
    """An open stream of the overview."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> tuple[str, str]:
        """The name of the next event, and what it says. Raises ``StopAsyncIteration`` at the end."""
        name, data = "", []
        async for line in self._lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif not line and name:
                return name, "\n".join(data)
        raise StopAsyncIteration

    async def parts(self, *names: str) -> dict[str, str]:
        """The next of each of these."""
        found: dict[str, str] = {}
        while not found.keys() >= set(names):
            name, data = await self.next()
            found[name] = data
        return found

    async def end(self) -> None:
        """Read until it ends."""
        with contextlib.suppress(StopAsyncIteration):
            async with asyncio.timeout(30):
                while True:
                    await self.next()


@asynccontextmanager
async def following(browser: Browser) -> AsyncIterator[Followed]:
    async with browser.http.stream("GET", STREAM) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield Followed(response.aiter_lines())


def _plot(page: str, name: str) -> str:
    """What one of the plots says."""
    [found] = re.findall(rf'<figure class="card plot">\s*<figcaption>\s*<h3 id="{name}">.*?</figure>', page, re.DOTALL)
    return str(found)


def _titles(plot: str) -> list[str]:
    """What its columns say, of those that are not empty, without their times."""
    said = re.findall(r"<title[^>]*>\d\d:\d\d UTC: ([^<]*)</title>", plot)
    return [one for one in said if one != "nothing"]


def _begin_an_interval(clock: ScaledClock) -> None:
    """So that what is done now lies in one interval, whatever the time is."""
    clock.skip(HOUR.interval_s - clock.now().timestamp() % HOUR.interval_s)


@on_sqlite
async def test_its_figures_are_what_happened(gateway: Running, admin: Browser, clock: ScaledClock) -> None:
    _begin_an_interval(clock)
    ids = [UUID((await gateway.submit())["id"]) for _ in range(4)]
    clock.skip(90)
    await gateway.call_back("song", song("t2m_0", **PLAYABLE), ids[0])
    clock.skip(30)
    await gateway.call_back("song", done("t2m_0"), ids[0])
    clock.skip(120)
    await gateway.call_back("song", done("t2m_1"), ids[1])
    await gateway.call_back("song", song("t2m_2", status="failed", err_msg="no"), ids[2])
    clock.skip(60)
    page = await admin.see("/console")
    arrivals, durations, contacts = (_plot(page, f"hour-{name}") for name in ("arrivals", "durations", "contacts"))
    assert _titles(arrivals) == ["4 accepted; done 2, failed 1, under way 1"]
    # One of those that may become playable is still under way.
    assert _titles(durations) == ["p50 4 min, p95 not known yet"]
    words = words_of(durations)
    assert "1 min 30 s p50 4 min p95" in words
    assert "Until it is done: 4 min, 4 min" in words
    assert _titles(contacts) == ["1 callbacks, 0 queries, 0 lost"] * 2 + ["2 callbacks, 0 queries, 0 lost"]
    [tile] = re.findall(r'<a id="open-queued"[^>]*>.*?</a>', page)
    assert 'href="/console/tasks?status=queued"' in tile
    assert '<span class="number" data-number="1">' in tile
    assert "0 of 10 in flight" in words_of(page)


@on_sqlite
async def test_a_client_sees_no_number_of_anybody_else(
    gateway: Running, admin: Browser, studio: Browser, clock: ScaledClock
) -> None:
    _begin_an_interval(clock)
    for _ in range(7):
        await gateway.submit(webhook_url="https://hooks.example/x")
    headers = {"Authorization": f"Bearer {studio.key}"}
    asked = {"kind": "song.generate", "params": SONG}
    own = [(await gateway.api.post("/v1/tasks", json=asked, headers=headers)).json()["id"] for _ in range(2)]
    await gateway.call_back("song", done("t2m_own"), UUID(own[0]))
    await gateway.api.post("/v1/submissions/hold", json={"reason": "of the admin"})
    page = await studio.see("/console")
    async with following(studio) as followed:
        streamed = await followed.parts("state", "hour", "day")
    for shown in (page, "".join(streamed.values())):
        assert _titles(_plot(shown, "hour-arrivals")) == ["2 accepted; done 1, under way 1"]
        assert re.findall(r'data-number="(\d+)"', shown) == ["1", "0", "0", "0", "0"]
        assert "an admin holds submissions" in shown
        assert not re.search("contacts|In flight|Loops|Waiting tasks|of the admin|>[79]<", shown)
    everybody = await admin.see("/console")
    assert _titles(_plot(everybody, "hour-arrivals")) == ["9 accepted; done 1, under way 8"]
    assert "Waiting tasks" in everybody
    await studio.see("/console/balance", 403)


@on_sqlite
async def test_a_query_that_found_what_no_callback_had_brought_is_a_loss(gateway: Running, admin: Browser) -> None:
    past, at = Past(), gateway.gateway.context.clock.now() - timedelta(minutes=20)
    lost = past.task(at, "succeeded", 300, 320)
    past.query(lost, 1, at + timedelta(seconds=240))
    past.query(lost, 2, at + timedelta(seconds=300), ("running", "main_succeeded"))
    await gateway.gateway.context.db.write(past.write)
    words = words_of(_plot(await admin.see("/console"), "hour-contacts"))
    assert "0 callbacks 1 lost" in words
    assert "Queries 2" in words


@on_sqlite
async def test_any_number_of_readers_cost_one_survey(gateway: Running, admin: Browser) -> None:
    overview = gateway.gateway.services.overview
    for _ in range(5):
        await admin.see("/console")
    assert overview.surveys == 1
    followed = [following(admin) for _ in range(20)]
    streams = [await one.__aenter__() for one in followed]
    try:
        for stream in streams:
            assert (await stream.parts("work")).keys() == {"state", "hour", "day", "work"}
        assert overview.surveys == 1
        before = asyncio.get_running_loop().time()
        for _ in range(3):
            # What is as it was is not sent again.
            await gateway.submit()
            for stream in streams:
                await stream.parts("state")
        passed_s = asyncio.get_running_loop().time() - before
        assert overview.surveys == 4
        assert 3 * overview_live.FRESH_S <= passed_s < 3 * (overview_live.FRESH_S + overview_live.SPREAD_S) + 1
    finally:
        for one in followed:
            await one.__aexit__(None, None, None)


@on_sqlite
async def test_a_reader_that_goes_in_the_middle_of_a_survey_leaves_no_gap(gateway: Running, admin: Browser) -> None:
    overview = gateway.gateway.services.overview
    leaving = asyncio.create_task(overview.parts(None))
    await asyncio.sleep(0)
    assert overview.surveys == 1
    leaving.cancel()
    assert (await overview.parts(None)).keys() == {"state", "hour", "day", "work"}


@on_sqlite
async def test_a_page_says_so_where_there_is_no_news_to_be_had(gateway: Running, admin: Browser) -> None:
    async with following(admin) as followed:
        await followed.parts("work")
        await gateway.gateway.context.db.close()
        assert (await followed.next())[0] == "away"


@on_sqlite
async def test_a_page_follows_what_happens(gateway: Running, admin: Browser, clock: ScaledClock) -> None:
    _begin_an_interval(clock)
    async with following(admin) as followed:
        first = await followed.parts("state", "hour", "day", "work")
        assert _titles(_plot(first["hour"], "hour-arrivals")) == []
        await gateway.submit()
        assert 'data-number="1"' in (await followed.parts("state"))["state"]
        assert _titles(_plot((await followed.parts("hour"))["hour"], "hour-arrivals")) == ["1 accepted; under way 1"]


@on_sqlite
async def test_what_is_as_it_was_is_not_sent_again(gateway: Running, studio: Browser, clock: ScaledClock) -> None:
    _begin_an_interval(clock)
    async with following(studio) as followed:
        await followed.parts("state", "hour", "day")
        await asyncio.sleep(3 * overview_live.FRESH_S)
        assert gateway.gateway.services.overview.surveys > 2
        headers = {"Authorization": f"Bearer {studio.key}"}
        await gateway.api.post("/v1/tasks", json={"kind": "song.generate", "params": SONG}, headers=headers)
        name, state = await followed.next()
        assert (name, 'data-number="1"' in state) == ("state", True)


@on_sqlite
async def test_a_stream_ends_with_its_key_its_session_and_its_process(
    gateway: Running, admin: Browser, studio: Browser, clock: ScaledClock
) -> None:
    async with opened(gateway.url) as nobody:
        assert (await nobody.http.get(STREAM)).headers["location"].startswith("/console/sign-in")
    async with following(studio) as followed:
        await followed.parts("state")
        assert (await gateway.api.delete("/v1/clients/studio")).status_code == 204
        await followed.end()
    async with following(admin) as followed:
        await followed.parts("state")
        clock.skip(13 * 3600)
        await followed.end()
    await admin.sign_in(ADMIN_KEY)
    async with following(admin) as followed:
        await followed.parts("state")
        gateway.gateway.services.watch.drain()
        await followed.end()
    assert (await admin.http.get(STREAM)).status_code == 503


@on_sqlite
async def test_a_busy_day_is_drawn_within_its_picture(gateway: Running, admin: Browser) -> None:
    await gateway.gateway.context.db.write(a_busy_day, gateway.gateway.context.clock.now(), 8)
    page = await admin.see("/console")
    for span in ("hour", "day"):
        for name in ("arrivals", "durations", "contacts"):
            plot = _plot(page, f"{span}-{name}")
            assert len(_titles(plot)) > 10
            for place in re.findall(r' (?:x|y|x1|x2|y1|y2)="(-?[\d.]+)%"', plot):
                assert 0 <= float(place) <= 100
            for size in re.findall(r' (?:width|height)="(-?[\d.]+)%"', plot):
                assert 0 < float(size) <= 100
            # The same for who cannot see it.
            assert plot.count('<th scope="row"') == len(_titles(plot))
            assert re.search(
                rf'role="img" aria-labelledby="{span}-{name}" aria-describedby="about-{span}-{name}"', plot
            )
