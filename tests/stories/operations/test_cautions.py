"""What is not right although everything works is told: in the log, in `/readyz`, which stays 200, and as a metric."""

import re
import uuid

import pytest
import structlog

from app.storage.migrate import migrate
from tests.support.bodies import song
from tests.support.clock import ScaledClock
from tests.support.databases import on_postgresql, on_sqlite
from tests.support.gateway import SECRET, eventually, running_gateway
from tests.support.postgres import PostgresServer

OTHER_SECRET = "another-secret-0123456789abcdef0123456789"


async def warnings(gateway):
    answer = await gateway.api.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    return {one["code"]: one["detail"] for one in reversed(answer.json()["warnings"])}


async def metric(gateway, name):
    text = (await gateway.api.get("/metrics")).text
    found = re.findall(rf"^{name}(?:\{{setting=\"(\w+)\"\}})? (\S+)$", text, re.MULTILINE)
    return {label: float(value) for label, value in found}


def told(logs, event):
    return [one for one in logs if one["event"] == event]


@pytest.fixture(scope="module")
def durable():
    """A PostgreSQL with the settings of production."""
    with PostgresServer(durable=True) as server:
        migrate(server.create_database("gateway"))
        yield server


async def test_a_database_that_keeps_what_it_confirms_is_not_spoken_of_until_it_does_not(durable):
    with structlog.testing.capture_logs() as logs:
        async with running_gateway(durable.url("gateway"), workers=False) as gateway:
            assert await warnings(gateway) == {}
            assert set((await metric(gateway, "gateway_database_unsafe")).values()) == {0}
        assert told(logs, "database.unsafe") == []
        durable.execute("ALTER DATABASE gateway SET synchronous_commit = off")
        async with running_gateway(durable.url("gateway"), workers=False) as gateway:
            assert "synchronous_commit" in (await warnings(gateway))["database_unsafe"]
            assert (await metric(gateway, "gateway_database_unsafe"))["synchronous_commit"] == 1
    [line] = told(logs, "database.unsafe")
    assert (line["log_level"], line["off"]) == ("warning", ["synchronous_commit"])


@on_postgresql
async def test_an_unsafe_database_is_told_of_at_the_start_and_each_minute(database_url):
    """The tests' own server: it need not survive a power cut."""
    clock = ScaledClock()
    with structlog.testing.capture_logs() as logs:
        async with running_gateway(database_url, workers=False, clock=clock) as gateway:
            assert [one["off"] for one in told(logs, "database.unsafe")] == [["fsync", "full_page_writes"]]
            ready = (await gateway.api.get("/readyz")).json()
            assert [one["detail"].split()[3] for one in ready["warnings"]] == ["fsync", "full_page_writes"]
            assert await metric(gateway, "gateway_database_unsafe") == {
                "fsync": 1,
                "full_page_writes": 1,
                "synchronous_commit": 0,
            }
            await gateway.gateway.cautions.step()
            assert len(told(logs, "database.unsafe")) == 1
            clock.skip(61)
            await gateway.gateway.cautions.step()
            assert len(told(logs, "database.unsafe")) == 2


@on_sqlite
async def test_sqlite_is_set_up_by_us_and_nothing_is_to_be_told(gateway):
    assert await warnings(gateway) == {}


async def test_a_secret_that_open_tasks_need_is_missed_until_they_have_ended(database_url, start_sandbox):
    sandbox = await start_sandbox(scale=1)
    vendor = {"tempolor_base_url": sandbox.base_url}
    async with running_gateway(database_url, **vendor) as before:
        task = await before.submit()
        await before.until(task["id"], "running")
        url = before.callback_url("song", uuid.UUID(task["id"]))
        assert "callback_secret_missing" not in await warnings(before)
    clock = ScaledClock()
    with structlog.testing.capture_logs() as logs:
        async with running_gateway(database_url, workers=False, callback_secrets=OTHER_SECRET, clock=clock) as after:
            [line] = told(logs, "callback_secrets.missing")
            assert (line["log_level"], line["open_tasks"]) == ("warning", 1)
            assert (await warnings(after))["callback_secret_missing"].endswith("away: 1")
            assert await metric(after, "gateway_callback_secret_missing") == {"": 1}
            path = url.removeprefix(before.url)
            assert (await after.api.post(path, json=song("t2m_x"))).status_code == 403
    # Put back behind the new one, it verifies, and nothing is missing.
    both = f"{OTHER_SECRET},{SECRET}"
    async with running_gateway(database_url, workers=False, callback_secrets=both) as mended:
        assert "callback_secret_missing" not in await warnings(mended)
        assert await metric(mended, "gateway_callback_secret_missing") == {"": 0}
        assert (await mended.api.post(path, json=song(task["id"][:8], "failed"))).status_code == 200


async def test_a_task_that_ends_needs_no_secret_any_more(database_url, start_sandbox):
    sandbox = await start_sandbox(scale=300, callbacks={"drop": 1})
    vendor = {"tempolor_base_url": sandbox.base_url, "query_first_after_s": 0.2, "query_interval_s": 0.2}
    async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as before:
        task = await before.submit()
        await before.until(task["id"], "running")
    clock = ScaledClock()
    async with running_gateway(database_url, callback_secrets=OTHER_SECRET, clock=clock, **vendor) as after:
        assert "callback_secret_missing" in await warnings(after)
        clock.skip(250)
        await after.until(task["id"], "succeeded", timeout_s=30)
        clock.skip(61)

        async def forgotten():
            await after.gateway.cautions.step()
            return "callback_secret_missing" not in await warnings(after)

        await eventually(forgotten, 5)


@on_postgresql
@pytest.mark.parametrize(("seconds", "words"), [(0, None), (5, "+5.0 s"), (-20, "stand still")])
async def test_a_clock_that_is_off_is_told(database_url, seconds, words):
    clock = ScaledClock()
    clock.skip(seconds)
    async with running_gateway(database_url, workers=False, clock=clock, watch_clock=True) as gateway:
        found = (await warnings(gateway)).get("clock_skew")
        assert found is None if words is None else words in found
