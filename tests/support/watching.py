"""Watching many tasks from a test: who asks, what it costs, how long it took."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from app.domain.client import Client
from tests.support.gateway import SONG, Running

ADMIN = Client("bootstrap", True, datetime(2026, 1, 1, tzinfo=UTC), None)


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The statements of all engines of this process while the block lasts."""
    found: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        found.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


async def submit_many(gateway: Running, count: int, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Accept songs, a hundred at a time."""
    made: list[dict[str, Any]] = []
    while len(made) < count:
        batch = {"tasks": [{"kind": "song.generate", "params": SONG}] * min(100, count - len(made))}
        answer = await gateway.api.post("/v1/tasks/batch", json=batch, headers=headers)
        assert answer.status_code == 202, answer.text
        made += answer.json()["data"]
    return made


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
