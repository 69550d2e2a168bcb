"""Watching many tasks from a test: who asks, what it costs, how long it took."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.rules.client import Client
from app.watching.waits import Until
from app.watching.watch import Watch
from tests.support.gateway import SONG, Running, eventually

ADMIN = Client("bootstrap", True, datetime(2026, 1, 1, tzinfo=UTC), None)


@contextmanager
def sent_statements(target: Any) -> Iterator[list[tuple[str, Any]]]:
    """The statements, each with its parameters, of a connection (or of all engines: ``sa.Engine``) while the block
    lasts."""
    found: list[tuple[str, Any]] = []

    # SQLAlchemy gives a listener its arguments by their number, so that all are named.
    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        found.append((statement, parameters))

    sa.event.listen(target, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(target, "before_cursor_execute", note)


async def submit_many(gateway: Running, count: int, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Accept songs, a hundred at a time."""
    made: list[dict[str, Any]] = []
    while len(made) < count:
        batch = {"tasks": [{"kind": "song.generate", "params": SONG}] * min(100, count - len(made))}
        answer = await gateway.api.post("/v1/tasks/batch", json=batch, headers=headers)
        assert answer.status_code == 202, answer.text
        made += answer.json()["data"]
    return made


async def all_waiting(watch: Watch, count: int) -> None:
    """Until so many wait at this process, each with the task at hand."""

    async def waiting() -> bool:
        waiters = [one for some in watch._waits.waiting.values() for one in some]
        return len(waiters) == count and all(one.looked_up for one in waiters)

    await eventually(waiting)


def wait_for(watch: Watch, task: dict[str, Any], until: Until = Until.FINAL, wait_s: int = 60) -> asyncio.Task[Any]:
    """Somebody who waits for a task, from now on."""
    return asyncio.create_task(watch.wait(UUID(task["id"]), ADMIN, wait_s, until))


def figures(seconds: Sequence[float]) -> str:
    """Percentiles of some times, in milliseconds."""
    ordered = sorted(seconds)

    def at(share: float) -> str:
        return f"{1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]:.0f}"

    return f"n={len(ordered)} p50={at(0.5)} ms p99={at(0.99)} ms max={at(1)} ms"


class Stopwatch:
    """When each of some things was begun, and how long it took."""

    def __init__(self) -> None:
        self._begun: dict[Any, float] = {}
        self.taken: dict[Any, float] = {}

    def begin(self, key: Any) -> None:
        self._begun[key] = time.monotonic()

    def end(self, key: Any) -> None:
        self.taken.setdefault(key, time.monotonic() - self._begun[key])
