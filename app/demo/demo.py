"""``tempolor-gateway demo``: one task of every kind, its timeline shown live, from the start to the exit code."""

import asyncio
import contextlib
import json
import os
import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import httpx
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.demo.checks import EARLY_CALLBACK, LOST_ANSWER, LOST_CALLBACK, Evidence, Step, failures, gather, summary
from app.demo.processes import Server, SubprocessFailed, servers, until_signal
from tempolor_gateway_client import AsyncGatewayClient, GatewayError, Retries, Task

SCALE: Final = 40
"""Vendor seconds a second: a song's mp3 takes three seconds."""
LIMIT_S: Final = 60.0
"""On an idle machine the last task ends after six seconds."""
FIRST_QUERY_S: Final = 5
"""Silence after which the gateway asks. No callback that comes keeps it waiting so long at this scale."""
WIDTH: Final = 116

TASKS: Final[dict[str, dict[str, Any]]] = {
    "song.generate": {"prompt": "slow pop ballad about a harbour at night, piano", "model": "tempolor-latest"},
    "song.extend": {"item_id": "t2m_81f0", "start_time": 60},
    "instrumental.generate": {"prompt": "house, 120 BPM, A minor", "model": "TemPolor i4"},
    "instrumental.extend": {"item_id": "178001", "start_time": 30},
    "lyrics.generate": {"prompt": "rain on a tin roof"},
    "stems.create": {"url": "https://files.example/harbour-lights.mp3"},
    "midi.create": {"url": "https://files.example/harbour-lights.mp3"},
}
FAULTS: Final = {
    "song.extend": LOST_ANSWER,
    "instrumental.generate": EARLY_CALLBACK,
    "stems.create": LOST_CALLBACK,
}
SCRIPT: Final = {
    "answers": [
        # The vendor takes the task, and the connection breaks before it has said so.
        {"operation": "submit", "kind": "song.extend", "reset": True},
        {"operation": "submit", "kind": "instrumental.generate", "delay_s": 0.8},
    ],
    "works": [
        {"kind": "instrumental.generate", "early": ["audio_complete"]},
        # Its only callback: nothing will ever be heard of this task.
        {"kind": "stems.create", "drop": ["*"]},
    ],
}
"""How the sandbox makes the faults."""

_MARKS: Final = {"ready": "✓", "pending": "…", "failed": "✗"}
_STYLES: Final = {
    "queued": "dim",
    "submitting": "dim",
    "unconfirmed": "yellow",
    "running": "cyan",
    "main_succeeded": "blue",
    "succeeded": "green",
}


def main(log_level: str | None = None) -> int:
    """Run the demo; the exit code is 0 only if all ended as it should. ``log_level``: the gateway's log is shown from
    this level on."""
    # A log between the lines would break a live table.
    console = Console(highlight=False, soft_wrap=True, force_terminal=False if log_level else None)
    return asyncio.run(until_signal(_run(console, log_level)))


async def _run(console: Console, log_level: str | None) -> int:
    began = time.monotonic()
    console.print("Starting a sandbox of the vendor and a gateway on a fresh SQLite file …")
    # Whatever is set for a real gateway stays out of this one.
    env = {name: value for name, value in os.environ.items() if not name.upper().startswith("GATEWAY_")}
    env |= {"GATEWAY_QUERY_FIRST_AFTER_S": str(FIRST_QUERY_S), "GATEWAY_LOOP_IDLE_S": "0.2"}
    if log_level is not None:
        env |= {"GATEWAY_LOG_LEVEL": log_level, "GATEWAY_LOG_FORMAT": "console"}
    options = ("--scale", str(SCALE), "--faults", json.dumps({"durations": {"jitter": 0}}))
    try:
        async with (
            servers(env, options, quiet=log_level is None) as (gateway, sandbox, admin_key, _),
            # Nothing is tried again: a gateway of the demo that is away has failed.
            AsyncGatewayClient(gateway.url, admin_key, retries=Retries(total_s=0), trust_env=False) as client,
            httpx.AsyncClient(base_url=f"{sandbox.url}/_sandbox/", trust_env=False, timeout=10) as control,
        ):
            (await control.post("script", json=SCRIPT)).raise_for_status()
            console.print(f"Submitting one task of each kind; {SCALE} seconds of the vendor pass in one.\n")
            for kind, params in TASKS.items():
                await client.submit(kind, params)
            tasks = await _watch(client, (gateway, sandbox), console)
            evidence = await gather(client, control, tasks, FAULTS)
        _print_evidence(evidence, console)
        failed = failures(evidence)
        if len(tasks) != len(TASKS):
            failed.append(f"the gateway knows {len(tasks)} tasks, not {len(TASKS)}")
    except (SubprocessFailed, GatewayError, httpx.HTTPError) as error:
        failed = [str(error) or type(error).__name__]
    for line in failed:
        console.print(f"FAILED  {line}", markup=False)
    if failed:
        return 1
    console.print(f"\nOK  all {len(TASKS)} tasks succeeded, each submitted once ({time.monotonic() - began:.1f} s)")
    return 0


async def _watch(client: AsyncGatewayClient, running: Iterable[Server], console: Console) -> list[Task]:
    """Show the tasks, oldest first, until nothing more is to come or the time is up: a live table on a terminal, else
    a line for each change."""
    began = time.monotonic()
    shown: dict[str, str] = {}
    with Live(console=console, refresh_per_second=8) if console.is_terminal else contextlib.nullcontext() as live:
        while True:
            for server in running:
                server.check()
            tasks = [task async for task in client.list()][::-1]
            at_s = time.monotonic() - began
            if live is None:
                _print_changes(tasks, at_s, shown, console)
            else:
                live.update(_table(tasks, at_s))
            if all(task.complete for task in tasks) or at_s > LIMIT_S:
                return tasks
            await asyncio.sleep(0.1)


def _print_changes(tasks: Iterable[Task], at_s: float, shown: dict[str, str], console: Console) -> None:
    for task in tasks:
        line = f"{task.kind:<22} {task.status:<15} {_results(task)}".rstrip()
        if shown.get(task.id) != line:
            shown[task.id] = line
            console.print(f"{at_s:6.2f}  {line}")


def _table(tasks: Iterable[Task], at_s: float) -> Table:
    table = Table(box=SIMPLE, caption=f"{at_s:.0f} s", caption_justify="left")
    for heading, least in (("kind", 21), ("status", 14), ("results", 8), ("fault", 14)):
        table.add_column(heading, min_width=least, no_wrap=heading != "results")
    for task in tasks:
        style = _STYLES.get(task.status, "red")
        table.add_row(task.kind, f"[{style}]{task.status}[/]", _results(task), FAULTS.get(task.kind, ""))
    return table


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


def _print_evidence(evidence: Sequence[Evidence], console: Console) -> None:
    width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    console.print("\nWhat happened to each, in seconds since it was accepted:\n")
    for one in evidence:
        console.print(f"{one.kind}  ({one.fault})" if one.fault else one.kind, markup=False)
        console.print(timeline_text(one.steps, width), markup=False)
    console.print("\nWhat went wrong on the way, and how it ended:\n")
    for line in summary(evidence):
        console.print(f"  {line}", markup=False)


def timeline_text(steps: Iterable[Step], width: int) -> str:
    """A timeline in a few indented lines, broken only between its steps."""
    text = " · ".join(str(step).replace(" ", "\xa0") for step in steps)
    lines = textwrap.wrap(text, max(width - 4, 40), break_on_hyphens=False)
    return "\n".join(f"    {line}" for line in lines).replace("\xa0", " ")
