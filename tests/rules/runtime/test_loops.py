"""The supervisor of loops: one that fails turns again after pauses that grow, and beats when a turn ended well."""

import asyncio
from itertools import pairwise

import pytest

from app.errors import Unavailable
from app.runtime.loops import Loop, Supervisor
from tests.support.clock import ScaledClock


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
    assert supervisor.ages_s()["faulty"] == pytest.approx(0.3, abs=0.01)
    await supervisor.stop(1)
