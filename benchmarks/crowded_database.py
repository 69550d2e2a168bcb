"""A database with many tasks: most ended, some waiting, some due, some queued; and the callbacks of those in flight."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from app.database.connect import is_sqlite, parse_url
from benchmarks import bulk_insert
from benchmarks.bodies import events_of, uuid7
from benchmarks.seeding import Copy, Pattern, make_pattern

IN_FLIGHT: Final = 2000
LEAST: Final = 600
"""Due items and queued tasks that there must be, since claims use them up."""
SHARES: Final = {"waiting": 0.10, "due": 0.02, "queued": 0.01}
MIX: Final = (
    f"{SHARES['waiting']:.0%} wait for a callback, {SHARES['due']:.0%} are due to be asked about, "
    f"{SHARES['queued']:.0%} are queued (at least {LEAST} of those two), {IN_FLIGHT:,} are in flight at every "
    "size since that is a setting, the others have ended; those that wait or are due are external tasks, which "
    "have no place in flight; a tenth of the ended ones belongs to another client"
)
MOST_EVENTS: Final = 4
BLOCK: Final = 20_000
_PATTERN_OF: Final = {
    "waiting": "external",
    "due": "external",
    "queued": "queued",
    "running": "running",
    "ended": "ended",
}

Callback = tuple[UUID, bytes]


@dataclass(frozen=True, slots=True)
class Seeded:
    """What is in the database. ``running``: tasks in flight, each with its item."""

    running: list[tuple[UUID, str]]
    sample_ids: list[UUID]

    def callbacks(self) -> Iterator[Callback]:
        """Their callbacks: the first of each task, then the second …"""
        for stage in range(MOST_EVENTS):
            for task_id, item_id in self.running:
                events = events_of(item_id, random.Random(item_id))
                if stage < len(events):
                    yield task_id, msgspec.json.encode({"songs": [events[stage]]})


def seed(url: str, size: int, shares: dict[str, float] | None = None) -> Seeded:
    """Fill an empty database at head with ``size`` tasks. ``shares`` of stages, instead of the usual mix."""
    rng = random.Random(size)
    patterns = {stage: lean(make_pattern(url, stage)) for stage in dict.fromkeys(_PATTERN_OF.values())}
    stages = _stages(size, rng, shares)
    started_ms = time.time_ns() // 1_000_000 - size - 3_600_000
    now = datetime.now(UTC)
    seeded = Seeded([], [])
    for begin in range(0, size, BLOCK):
        by_pattern: dict[str, list[Copy]] = {}
        for index in range(begin, min(begin + BLOCK, size)):
            stage = stages[index]
            one = Copy(
                uuid7(started_ms + index, 0, rng), (f"t2m_{rng.getrandbits(64):016x}",), _changes(stage, now, rng)
            )
            by_pattern.setdefault(_PATTERN_OF[stage], []).append(one)
            if stage == "running":
                seeded.running.append((one.id, one.item_ids[0]))
            if rng.random() < 2000 / size:
                seeded.sample_ids.append(one.id)
        for name, copies in by_pattern.items():
            patterns[name].copy(copies)
    # What the seeding left to be written must not be part of what is measured next.
    if is_sqlite(parse_url(url)):
        bulk_insert.execute(url, "PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        bulk_insert.execute(url, "VACUUM ANALYZE", "CHECKPOINT")
    return seeded


def lean(pattern: Pattern) -> Pattern:
    """Without what would be most of the work and is reached by its key alone: timelines, and the text of lyrics, of
    which one short value stays for each item so that their table is as long as it would be."""
    rows = {name: pattern.rows[name] for name in ("tasks", "items")}
    columns, found = pattern.rows.get("item_values", ([], []))
    if "value" in columns:
        at = columns.index("value")
        rows["item_values"] = (columns, [(*row[:at], "[]", *row[at + 1 :]) for row in found[:1]])
    return replace(pattern, rows=rows)


def _stages(size: int, rng: random.Random, shares: dict[str, float] | None) -> list[str]:
    counts = {stage: int(share * size) for stage, share in (shares or SHARES).items()}
    if shares is None:
        counts |= {stage: max(counts[stage], min(LEAST, size // 8)) for stage in ("due", "queued")}
        counts["running"] = min(IN_FLIGHT, size // 4)
    stages = [stage for stage, count in counts.items() for _ in range(count)]
    stages += ["ended"] * (size - len(stages))
    rng.shuffle(stages)
    return stages


def _changes(stage: str, now: datetime, rng: random.Random) -> dict[str, Any]:
    if stage in ("waiting", "due"):
        ago = rng.uniform(-3600, -60) if stage == "waiting" else rng.uniform(0, 600)
        return {"query_due_at": now - timedelta(seconds=ago)}
    if stage == "queued":
        return {"dispatch_due_at": now - timedelta(seconds=rng.uniform(0, 600))}
    if stage == "ended" and rng.random() < 0.1:
        return {"client_name": "radio"}
    return {}
