"""Whether a gateway is well after all, and how it answers meanwhile."""

import asyncio
import re
import time
from pathlib import Path
from typing import Final

import httpx

from tests.chaos.disks import fill
from tests.chaos.load import Load
from tests.chaos.processes import holds

TURN_S: Final = 30.0
"""What waited for the database begins anew after at most 10 s."""
MOST_LATE_S: Final = 3.0


async def assert_all_is_well(api: httpx.AsyncClient) -> None:
    """No loop is late, nothing is stuck, and the process is ready."""

    async def well() -> bool:
        ages = re.findall(
            r'gateway_loop_heartbeat_age_seconds\{loop="([\w-]+)"\} (\S+)', (await api.get("/metrics")).text
        )
        assert len(ages) >= 3
        backlog, ready = await api.get("/backlog"), await api.get("/readyz")
        told[:] = [ages, backlog.text, ready.text]
        late = [name for name, age in ages if float(age) > MOST_LATE_S]
        return not late and backlog.status_code == ready.status_code == 200

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

    async def answered() -> bool:
        return any(answer.status == status for answer in load.since(since))

    await holds(answered, timeout_s, load.tail)
