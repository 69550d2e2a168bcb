"""The supervisor of loops: one that fails turns again after pauses that grow, and one that does not end an
iteration is late from when it was due."""

import asyncio
from itertools import pairwise

import pytest

from app.errors import Unavailable
from app.runtime.loops import Loop, Supervisor
from tests.support.fast_clock import ScaledClock


@pytest.mark.parametrize("fault", [RuntimeError("a mistake"), Unavailable("the database is away")])
async def test_a_loop_that_fails_turns_again(clock: ScaledClock, fault: Exception) -> None:
    turns: list[float] = []

    async def step() -> float | None:
        turns.append(clock.monotonic())
        if len(turns) <= 3:
            raise fault
        return None

    supervisor = Supervisor(clock)
    supervisor.start(Loop("faulty", step, idle_s=60))
    await asyncio.sleep(0.5)
    assert supervisor.ages_s()["faulty"] == pytest.approx(0.5, abs=0.01)
    await asyncio.sleep(0.5)
    assert [after - before for before, after in pairwise(turns)] == pytest.approx([0.1, 0.2, 0.4], abs=0.01)
    # It ended well at 0.7 s, and rests.
    assert supervisor.ages_s()["faulty"] == 0
    await supervisor.stop(1)


async def test_a_loop_that_rests_is_not_late_and_one_that_hangs_is_from_when_it_was_due(clock: ScaledClock) -> None:
    hanging, turns = asyncio.Event(), 0

    async def step() -> float | None:
        nonlocal turns
        turns += 1
        if turns == 2:
            await hanging.wait()
        return 3600

    supervisor = Supervisor(clock)
    loop = Loop("hourly", step, delay_s=60)
    supervisor.start(loop)
    await asyncio.sleep(59.9)
    assert (turns, supervisor.ages_s()) == (0, {"hourly": 0})
    await asyncio.sleep(3600)
    assert (turns, supervisor.ages_s()) == (1, {"hourly": 0})
    await asyncio.sleep(30.1)
    assert turns == 2
    assert supervisor.ages_s() == {"hourly": pytest.approx(30, abs=0.001)}
    hanging.set()
    await asyncio.sleep(10)
    assert supervisor.ages_s() == {"hourly": 0}
    # One that is woken is due at once.
    turns = 1
    hanging.clear()
    loop.wake.set()
    await asyncio.sleep(5)
    assert supervisor.ages_s() == {"hourly": pytest.approx(5, abs=0.001)}
    hanging.set()
    await supervisor.stop(1)
