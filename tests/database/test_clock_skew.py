"""A process whose clock is off from the database's: it is told, and with too much of it the loops claim nothing."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.operations.clock_skew import Comparison, Level, compare
from app.runtime import metrics
from tests.support.databases import on_postgresql
from tests.support.fast_clock import ScaledClock
from tests.support.gateway import Running, running_gateway
from tests.support.logs import capture_logs
from tests.support.not_none import present
from tests.support.start_fixtures import StartGateway, StartSandbox
from tests.support.virtual_time import utc_now


@pytest.fixture
def off() -> Callable[[float], ScaledClock]:
    """Clocks that are off by so many seconds."""

    def make(seconds: float) -> ScaledClock:
        clock = ScaledClock()
        clock.set(seconds)
        return clock

    return make


def told(logs: list[dict[str, Any]]) -> list[Any]:
    return [one["event"] for one in logs if one["event"].startswith("clock.")]


async def backlog(gateway: Running) -> tuple[int, Any]:
    answer = await gateway.api.get("/backlog")
    return answer.status_code, answer.json()


def gauge() -> Any:
    return metrics.clock_skew._value.get()


@on_postgresql
async def test_the_skew_is_measured_at_the_start_to_its_sign(
    database_url: str, off: Callable[[float], ScaledClock]
) -> None:
    for seconds in (-300, -12, 0, 1.5, 12):
        async with running_gateway(database_url, workers=False, clock=off(seconds), watch_clock=True) as gateway:
            assert gauge() == pytest.approx(seconds, abs=0.3)
            _, found = await backlog(gateway)
            assert found["clock_skew_s"] == pytest.approx(seconds, abs=0.3)


@on_postgresql
async def test_a_good_clock_is_not_spoken_of(start_gateway: StartGateway, off: Callable[[float], ScaledClock]) -> None:
    with capture_logs() as logs:
        gateway = await start_gateway(clock=off(1.5), watch_clock=True)
        for _ in range(3):
            await gateway.gateway.skew.step()
    assert told(logs) == []
    status, found = await backlog(gateway)
    assert (status, found["standing_still"]) == (200, {})


@on_postgresql
@pytest.mark.parametrize("seconds", [-2.5, 9])
async def test_from_two_seconds_on_it_is_warned_of_once_and_the_loops_go_on(
    start_gateway: StartGateway, start_sandbox: StartSandbox, off: Callable[[float], ScaledClock], seconds: float
) -> None:
    sandbox = await start_sandbox(scale=300)
    with capture_logs() as logs:
        clock = off(seconds)
        gateway = await start_gateway(sandbox, clock=clock, watch_clock=True)
        for _ in range(3):
            await gateway.gateway.skew.step()
        assert [(one["event"], one["log_level"]) for one in logs if one["event"] == "clock.off"] == [
            ("clock.off", "warning")
        ]
        await gateway.until((await gateway.submit())["id"], "succeeded")
        assert (await backlog(gateway))[0] == 200
        clock.set(-seconds)
        await gateway.gateway.skew.step()
    assert told(logs) == ["clock.off", "clock.good_again"]


@on_postgresql
@pytest.mark.parametrize("seconds", [11, -11])
async def test_from_ten_seconds_on_a_process_claims_nothing_until_its_clock_is_good(
    start_gateway: StartGateway, start_sandbox: StartSandbox, off: Callable[[float], ScaledClock], seconds: int
) -> None:
    sandbox = await start_sandbox(scale=300, callbacks={"drop": 1})
    clock = off(seconds)
    with capture_logs() as logs:
        gateway = await start_gateway(
            sandbox, clock=clock, watch_clock=True, query_first_after_s=0.1, query_interval_s=0.1
        )
        task = await (await start_gateway(workers=False)).submit()
        # Callbacks are stored all the same; what they name would be asked about at once.
        body = {"songs": [{"item_id": "t2m_stranger", "status": "running"}]}
        assert (await gateway.call_back("song", body)).text == "success"
        await asyncio.sleep(0.5)
        assert list(sandbox.calls) == []
        assert (await gateway.task(task["id"]))["status"] == "queued"
        status, found = await backlog(gateway)
        assert (status, found["stuck"], found["stalled_loops"]) == (503, True, [])
        assert found["standing_still"]["loops"]["reason"] == "clock_skew"
        assert (await gateway.api.get("/readyz")).status_code == 200
        clock.set(-seconds)
        # Nobody tells it: the loop that measures finds out.
        await gateway.until(task["id"], "succeeded")
    assert {call.operation for call in sandbox.calls} == {"submit", "query"}
    assert [one["log_level"] for one in logs if one["event"] == "clock.loops_stand_still"] == ["error"]
    assert told(logs) == ["clock.loops_stand_still", "clock.good_again"]
    status, found = await backlog(gateway)
    assert (status, found["standing_still"]) == (200, {})


@on_postgresql
async def test_a_clock_that_goes_wrong_stops_loops_that_run_and_another_process_does_the_work(
    start_gateway: StartGateway, start_sandbox: StartSandbox, off: Callable[[float], ScaledClock]
) -> None:
    sandbox = await start_sandbox(scale=300)
    clock = off(0)
    wrong = await start_gateway(sandbox, clock=clock, watch_clock=True)
    await wrong.until((await wrong.submit())["id"], "succeeded")
    clock.set(-3600)
    assert present(await wrong.gateway.skew.step()) <= 5, "it is looked at again soon"
    before = len(list(sandbox.calls))
    task = await wrong.submit()
    await asyncio.sleep(0.3)
    assert len(list(sandbox.calls)) == before
    right = await start_gateway(sandbox)
    await right.until(task["id"], "succeeded")


@on_postgresql
async def test_a_clock_that_was_set_is_measured_before_any_loop_goes_by_it(start_gateway: StartGateway) -> None:
    """All that is known of it is of before."""
    clock = ScaledClock()
    gateway = await start_gateway(clock=clock, watch_clock=True)
    skew = gateway.gateway.skew
    for seconds in (3 * 3600, -6 * 3600, 3 * 3600 - 11):
        await skew.step()
        before = skew.stops_loops()
        clock.set(seconds)
        assert skew.stops_loops()
        assert skew.level is (Level.TOO_FAR_OFF if before else Level.GOOD), "nobody has measured yet"
    clock.set(11)
    await skew.step()
    assert not skew.stops_loops()
    clock.skip(3 * 3600)
    assert not skew.stops_loops(), "time has passed, as for a process that was frozen"


@on_postgresql
async def test_what_time_does_to_leases_waits_for_a_good_clock(
    start_gateway: StartGateway, start_sandbox: StartSandbox, off: Callable[[float], ScaledClock]
) -> None:
    """A clock that is ahead would take the lease of a submission under way for lapsed."""
    sandbox = await start_sandbox(scale=60)
    sandbox.add_rules(answers=[{"operation": "submit", "delay_s": 0.8}])
    sender = await start_gateway(sandbox)
    task = await sender.submit()
    await sender.until(task["id"], "submitting")
    ahead = await start_gateway(sandbox, clock=off(100), watch_clock=True)
    await sender.until(task["id"], "succeeded")
    assert "lease_lapsed" not in [one["type"] for one in await ahead.timeline(task["id"])]


@on_postgresql
async def test_the_quickest_of_three_readings_counts_and_half_its_round_trip_is_taken_off(
    start_gateway: StartGateway,
) -> None:
    db = (await start_gateway()).gateway.context.db
    began = datetime(2026, 3, 1, tzinfo=UTC)
    ours = [began + timedelta(seconds=second) for second in (100, 101, 103, 103.4, 200, 205)]
    found = await db.read(compare, lambda: ours.pop(0))
    assert (present(found).before, present(found).after) == (
        began + timedelta(seconds=103),
        began + timedelta(seconds=103.4),
    )
    middle = began + timedelta(seconds=103.2)
    assert present(found).skew_s == pytest.approx((middle - present(found).at).total_seconds(), rel=0, abs=0.001)


@on_postgresql
async def test_the_database_tells_the_time_of_now_not_of_when_the_transaction_began(
    start_gateway: StartGateway,
) -> None:
    def compare_late(conn: sa.Connection) -> Comparison | None:
        conn.execute(sa.text("SELECT pg_sleep(0.6)"))
        return compare(conn, utc_now)

    found = await (await start_gateway()).gateway.context.db.read(compare_late)
    assert abs(present(found).skew_s) < 0.4


async def test_on_sqlite_the_clock_is_the_databases_own(
    start_sandbox: StartSandbox, tmp_path: Path, off: Callable[[float], ScaledClock]
) -> None:
    sandbox = await start_sandbox(scale=300)
    url = f"sqlite:///{tmp_path}/gateway.db"
    async with running_gateway(url, tempolor_base_url=sandbox.base_url, clock=off(3600), watch_clock=True) as gateway:
        await gateway.until((await gateway.submit())["id"], "succeeded")
        assert (await backlog(gateway))[1]["clock_skew_s"] == 0
