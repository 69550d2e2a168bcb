"""The command ``tempolor-gateway demo``, from its beginning to its exit code."""

import asyncio
import json
import os
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

import httpx
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.demo.checks import (
    FIRST_QUERY_S,
    SCALE,
    STORY,
    WIDTH,
    Evidence,
    Vendor,
    faults_in,
    gateway_at,
    gather,
    summary,
    tasks_of,
    tell,
)
from app.demo.processes import Server, SubprocessFailed, servers, until_signal
from tempolor_gateway_client import AsyncGatewayClient, GatewayError, Task

_MARKS: Final = {"ready": "✓", "pending": "…", "failed": "✗"}
_STYLES: Final = {
    "queued": "dim",
    "submitting": "dim",
    "unconfirmed": "yellow",
    "running": "cyan",
    "main_succeeded": "blue",
    "succeeded": "green",
}
_FAULTS: Final = {part.kind: part.fault or "" for part in STORY}


class Screen(Protocol):
    """Something that is told of the tasks again and again."""

    def show(self, tasks: list[Task], at_s: float) -> None:
        """``at_s``: seconds since the demo's first task."""


class Lines:
    """Plain lines, one for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def show(self, tasks: list[Task], at_s: float) -> None:
        for task in tasks:
            now = (task.status, _results(task))
            if self._shown.get(task.id) == now:
                continue
            self._shown[task.id] = now
            self._console.print(f"{at_s:6.2f}  {task.kind:<22} {now[0]:<15} {now[1]}".rstrip())


class LiveTable:
    """A table that is drawn anew in its place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def show(self, tasks: list[Task], at_s: float) -> None:
        table = Table(box=SIMPLE, caption=f"{at_s:.0f} s", caption_justify="left")
        for heading, least in (("kind", 21), ("status", 14), ("results", 8), ("fault", 14)):
            table.add_column(heading, min_width=least, no_wrap=heading != "results")
        for task in tasks:
            status = task.status
            style = _STYLES.get(status, "red")
            table.add_row(task.kind, f"[{style}]{status}[/]", _results(task), _FAULTS.get(task.kind, ""))
        self._live.update(table)


def screen_for(console: Console) -> AbstractContextManager[Screen]:
    """The one that fits the place where the output goes."""
    return LiveTable(console) if console.is_terminal else Lines(console)


def _results(task: Task) -> str:
    """What has been made, and what is still to come."""
    shown = []
    for item in task.items:
        shown += [f"{_MARKS[file.status]}{name}" for name, file in item.artifacts.items()]
        if item.lyrics is not None:
            shown.append("✓lyrics")
        if item.lyrics_sections is not None:
            shown.append("✓aligned")
    return "  ".join(shown)


LIMIT_S: Final = 60.0
"""On an idle machine the last task ends after six seconds."""
_STEP_S: Final = 0.1


def main() -> int:
    """Play the demo; the exit code is 0 only if everything ended as it should."""
    return asyncio.run(until_signal(_play(Console(highlight=False, soft_wrap=True))))


async def _play(console: Console) -> int:
    began = time.monotonic()
    console.print("Starting a sandbox of the vendor and a gateway on a fresh SQLite file …")
    # Whatever is set for a real gateway stays out of this one.
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith("GATEWAY_")}
    env |= {"GATEWAY_QUERY_FIRST_AFTER_S": str(FIRST_QUERY_S), "GATEWAY_LOOP_IDLE_S": "0.2"}
    steady = json.dumps({"durations": {"jitter": 0}})
    try:
        async with servers(env, ("--scale", str(SCALE), "--faults", steady)) as (gateway, sandbox, admin_key):
            wrong = await _perform(gateway, sandbox, admin_key, console)
    except (SubprocessFailed, GatewayError, httpx.HTTPError) as error:
        wrong = [str(error) or type(error).__name__]
    for line in wrong:
        console.print(f"FAILED  {line}", markup=False)
    if wrong:
        return 1
    console.print(f"\nOK  all {len(STORY)} tasks succeeded, each submitted once ({time.monotonic() - began:.1f} s)")
    return 0


async def _perform(server: Server, sandbox: Server, admin_key: str, console: Console) -> list[str]:
    """Submit, watch, tell. Returns what went wrong."""
    async with (
        gateway_at(server.url, admin_key) as gateway,
        httpx.AsyncClient(base_url=sandbox.url, trust_env=False, timeout=10) as control,
    ):
        vendor = Vendor(control)
        for part in STORY:
            await vendor.script(part.rules)
        console.print(f"Submitting one task of each kind; {SCALE} seconds of the vendor pass in one.\n")
        for part in STORY:
            await gateway.submit(part.kind, part.params)
        tasks = await _watch((server, sandbox), gateway, console)
        if len(tasks) != len(STORY):
            return [f"the gateway knows {len(tasks)} tasks, not {len(STORY)}"]
        found = await gather(gateway, vendor, tasks)
    _tell(found, console)
    return faults_in(found)


async def _watch(servers: tuple[Server, Server], gateway: AsyncGatewayClient, console: Console) -> list[Task]:
    """Show the tasks until all have ended and nothing more is to come, or the time is up; the tasks as they are."""
    began = time.monotonic()
    with screen_for(console) as screen:
        while True:
            for server in servers:
                server.check()
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
