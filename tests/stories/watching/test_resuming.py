"""A reader of a stream that was away for longer than any transaction lasts goes on where it was."""

import asyncio

from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running
from tests.support.server_sent_events import stream


async def test_who_was_away_for_an_hour_is_told_of_what_changed_meanwhile(gateway: Running, clock: ScaledClock) -> None:
    async with stream(gateway.api, "/v1/stream") as events:
        before = await gateway.submit()
        assert (await asyncio.wait_for(events.next(), 20))["id"] == before["id"]
    clock.skip(1800)
    meanwhile = await gateway.submit()
    clock.skip(1800)
    async with asyncio.timeout(20), stream(gateway.api, "/v1/stream", last_id=events.last_id) as events:
        # What the reader saw last may be told once more.
        while (await events.next())["id"] != meanwhile["id"]:
            pass
