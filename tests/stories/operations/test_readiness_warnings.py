"""What is not right although everything works is told: in the log, in `/readyz`, which stays 200, and as a metric."""

import uuid
from typing import Any

from tests.support.databases import on_sqlite
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import SECRET, Running, running_gateway
from tests.support.gateway_warnings import metric, told, warnings
from tests.support.logs import capture_logs
from tests.support.song_callbacks import song
from tests.support.start_fixtures import StartSandbox

OTHER_SECRET = "another-secret-0123456789abcdef0123456789"


@on_sqlite
async def test_sqlite_is_set_up_by_us_and_nothing_is_to_be_told(gateway: Running) -> None:
    assert await warnings(gateway) == {}


async def test_a_secret_that_open_tasks_need_is_missed_until_they_have_ended(
    database_url: str, start_sandbox: StartSandbox
) -> None:
    sandbox = await start_sandbox(scale=1)
    vendor: dict[str, Any] = {"tempolor_base_url": sandbox.base_url}
    async with running_gateway(database_url, **vendor) as before:
        task = await before.submit()
        await before.until(task["id"], "running")
        url = before.callback_url("song", uuid.UUID(task["id"]))
        assert "callback_secret_missing" not in await warnings(before)
    clock = ScaledClock()
    with capture_logs() as logs:
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


async def test_a_task_that_ends_needs_no_secret_any_more(database_url: str, start_sandbox: StartSandbox) -> None:
    sandbox = await start_sandbox(scale=300, callbacks={"drop": 1})
    vendor: dict[str, Any] = {
        "tempolor_base_url": sandbox.base_url,
        "query_first_after_s": 0.2,
        "query_interval_s": 0.2,
    }
    async with running_gateway(database_url, tempolor_base_url=sandbox.base_url) as before:
        task = await before.submit()
        await before.until(task["id"], "running")
    clock = ScaledClock()
    async with running_gateway(database_url, callback_secrets=OTHER_SECRET, clock=clock, **vendor) as after:
        assert "callback_secret_missing" in await warnings(after)
        clock.skip(250)
        await after.until(task["id"], "succeeded", timeout_s=30)
        await after.gateway.readiness_warnings.step()
        assert "callback_secret_missing" not in await warnings(after)
