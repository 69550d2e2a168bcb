"""Whether a gateway is well after all, and how it answers meanwhile."""

import asyncio
import re
import time
from pathlib import Path
from typing import Final

import httpx

from tests.violence.disks import fill
from tests.violence.load import Load
from tests.violence.processes import holds

TURN_S: Final = 20.0
"""The slowest loops turn every 10 s; what waited for the database begins anew after at most as much again."""
SLOW_LOOPS: Final = ("learn", "survey")


async def assert_all_is_well(api: httpx.AsyncClient) -> None:
    """Every loop turns, nothing is stuck, and the process is ready."""

    async def well():
        ages = re.findall(r'gateway_loop_heartbeat_age_seconds\{loop="(\w+)"\} (\S+)', (await api.get("/metrics")).text)
        assert len(ages) >= 3
        backlog, ready = await api.get("/backlog"), await api.get("/readyz")
        told[:] = [ages, backlog.text, ready.text]
        slow = [name for name, age in ages if float(age) > (13 if name in SLOW_LOOPS else 3)]
        return not slow and backlog.status_code == ready.status_code == 200

    told: list[object] = []
    await holds(well, TURN_S, lambda: told)


async def crowded(load: Load, disk: Path) -> float:
    """Fill the disk of a server under load until it says 503, and empty it again: how long callbacks took to be
    acknowledged from then on, in seconds."""
    ballast = await asyncio.to_thread(fill, disk)
    await until_answered(load, 503, 20)
    await asyncio.sleep(2)
    ballast.unlink()
    return await load.goes_on()


async def until_answered(load: Load, status: int, timeout_s: float) -> None:
    """Wait until an answer of this status comes to something posted from now on."""
    since = time.monotonic()

    async def answered():
        return any(answer.status == status for answer in load.since(since))

    await holds(answered, timeout_s, load.tail)
