"""The demo from its beginning to its verdict."""

import asyncio
import json
import os
import time
from typing import Final

import httpx
from rich.console import Console

from app.demo import processes
from app.demo.evidence import Evidence, gather
from app.demo.history import WIDTH, tell
from app.demo.processes import Broken
from app.demo.screen import screen_for
from app.demo.stage import Stage, stage
from app.demo.story import FIRST_QUERY_S, SCALE, STORY
from app.demo.talk import Vendor, gateway_at, tasks_of
from app.demo.verdict import faults_in, summary
from tempolor_gateway_client import AsyncGatewayClient, GatewayError, Task

LIMIT_S: Final = 60.0
"""On an idle machine the last task ends after six seconds."""
_STEP_S: Final = 0.1


def main() -> int:
    """Play the demo; the exit code is 0 only if everything ended as it should."""
    return processes.run(_play(Console(highlight=False, soft_wrap=True)))


async def _play(console: Console) -> int:
    began = time.monotonic()
    console.print("Starting a sandbox of the vendor and a gateway on a fresh SQLite file …")
    # Whatever is set for a real gateway stays out of this one.
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith("GATEWAY_")}
    env |= {"GATEWAY_QUERY_FIRST_AFTER_S": str(FIRST_QUERY_S), "GATEWAY_LOOP_IDLE_S": "0.2"}
    steady = json.dumps({"durations": {"jitter": 0}})
    try:
        async with stage(env=env, sandbox_arguments=("--scale", str(SCALE), "--faults", steady)) as on_stage:
            wrong = await _perform(on_stage, console)
    except (Broken, GatewayError, httpx.HTTPError) as error:
        wrong = [str(error) or type(error).__name__]
    for line in wrong:
        console.print(f"FAILED  {line}", markup=False)
    if wrong:
        return 1
    console.print(f"\nOK  all {len(STORY)} tasks succeeded, each submitted once ({time.monotonic() - began:.1f} s)")
    return 0


async def _perform(on_stage: Stage, console: Console) -> list[str]:
    """Submit, watch, tell. Returns what went wrong."""
    async with (
        gateway_at(on_stage.gateway_url, on_stage.admin_key) as gateway,
        httpx.AsyncClient(base_url=on_stage.sandbox_url, trust_env=False, timeout=10) as control,
    ):
        vendor = Vendor(control)
        for part in STORY:
            await vendor.script(part.rules)
        console.print(f"Submitting one task of each kind; {SCALE} seconds of the vendor pass in one.\n")
        for part in STORY:
            await gateway.submit(part.kind, part.params)
        tasks = await _watch(on_stage, gateway, console)
        if len(tasks) != len(STORY):
            return [f"the gateway knows {len(tasks)} tasks, not {len(STORY)}"]
        found = await gather(gateway, vendor, tasks)
    _tell(found, console)
    return faults_in(found)


async def _watch(on_stage: Stage, gateway: AsyncGatewayClient, console: Console) -> list[Task]:
    """Show the tasks until all have ended and nothing more is to come, or the time is up; the tasks as they are."""
    began = time.monotonic()
    with screen_for(console) as screen:
        while True:
            on_stage.gateway.check()
            on_stage.sandbox.check()
            tasks = await tasks_of(gateway)
            at_s = time.monotonic() - began
            screen.show(tasks, at_s)
            if all(task.complete for task in tasks) or at_s > LIMIT_S:
                return tasks
            await asyncio.sleep(_STEP_S)


def _tell(found: list[Evidence], console: Console) -> None:
    width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    console.print("\nWhat happened to each, in seconds since it was accepted:\n")
    for one in found:
        title = f"{one.part.kind}  ({one.part.fault})" if one.part.fault else one.part.kind
        console.print(tell(title, one.steps, width), markup=False)
    console.print("\nWhat went wrong on the way, and how it ended:\n")
    for line in summary(found):
        console.print(f"  {line}", markup=False)
