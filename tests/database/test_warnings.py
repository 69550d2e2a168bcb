"""What is told of a PostgreSQL: that it may lose what it confirmed, that its clock is another."""

import asyncio

import pytest

from tests.support.databases import on_postgresql
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import running_gateway
from tests.support.gateway_warnings import metric, told, warnings
from tests.support.logs import capture_logs


@on_postgresql
@pytest.mark.virtual_time
async def test_an_unsafe_database_is_told_of_at_the_start_and_each_minute(database_url: str) -> None:
    """The tests' own server: it need not survive a power cut."""
    with capture_logs() as logs:
        async with running_gateway(database_url, workers=False) as gateway:
            assert [one["off"] for one in told(logs, "database.unsafe")] == [["fsync", "full_page_writes"]]
            ready = (await gateway.api.get("/readyz")).json()
            assert [one["detail"].split()[3] for one in ready["warnings"]] == ["fsync", "full_page_writes"]
            assert await metric(gateway, "gateway_database_unsafe") == {
                "fsync": 1,
                "full_page_writes": 1,
                "synchronous_commit": 0,
            }
            await asyncio.sleep(59)
            assert len(told(logs, "database.unsafe")) == 1
            await asyncio.sleep(2)
            assert len(told(logs, "database.unsafe")) == 2


@on_postgresql
@pytest.mark.parametrize(("seconds", "words"), [(0, None), (5, "+5.0 s"), (-20, "stand still")])
async def test_a_clock_that_is_off_is_told(database_url: str, seconds: int, words: str | None) -> None:
    clock = ScaledClock()
    clock.set(seconds)
    async with running_gateway(database_url, workers=False, clock=clock, watch_clock=True) as gateway:
        found = (await warnings(gateway)).get("clock_skew")
        assert found is None if words is None else words in (found or "")
