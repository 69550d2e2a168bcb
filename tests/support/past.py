"""A past put straight into the tables: tasks as they were accepted and ended, callbacks, answers to queries."""

import hashlib
import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.database import tables
from app.rules.status import TASK_FINAL, TaskStatus
from app.runtime.clock import first_id_of


class Past:
    """Rows, to be written at once in the caller's transaction. Ids are of the time that they are given, each another
    one."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self._tasks: list[dict[str, Any]] = []
        self._callbacks: list[dict[str, Any]] = []
        self._timeline: list[dict[str, Any]] = []

    def write(self, conn: sa.Connection) -> None:
        """Write them."""
        for table, rows in (
            (tables.tasks, self._tasks),
            (tables.callbacks, self._callbacks),
            (tables.timeline, self._timeline),
        ):
            if rows:
                conn.execute(table.insert(), rows)

    def task(
        self,
        at: datetime,
        status: str = "succeeded",
        playable_s: float | None = None,
        final_s: float | None = None,
        **more: Any,
    ) -> UUID:
        """A task accepted at a time; ``playable_s`` and ``final_s``: how long after that it was."""
        task_id = self._id(at)
        is_open = TaskStatus(status) not in TASK_FINAL
        values: dict[str, Any] = {
            "id": task_id,
            "kind": "song.generate",
            "family": "song",
            "client_name": "bootstrap",
            "metadata_": {},
            "params": {"prompt": "a harbour at night"},
            "sung": True,
            "submission": "queued" if status == "queued" else "accepted",
            "submit_attempts": 1,
            "status": status,
            "version": 1,
            "created_at": at,
            "updated_at": at,
            "playable_at": None if playable_s is None else at + timedelta(seconds=playable_s),
            "finished_at": None if final_s is None else at + timedelta(seconds=final_s),
            "dispatch_due_at": at if status == "queued" else None,
            "slot_until": at + timedelta(days=1) if is_open and status != "queued" else None,
            "timeline_seq": 0,
            "stored_bodies": 0,
        }
        self._tasks.append(values | more)
        return task_id

    def callback(self, at: datetime, disposition: str = "applied") -> None:
        """A callback received at a time."""
        row_id = self._id(at)
        self._callbacks.append(
            {
                "id": row_id,
                "digest": hashlib.sha256(row_id.bytes).digest(),
                "family": "song",
                "disposition": disposition,
                "body": b"{}",
                "received_at": at,
                "last_received_at": at,
                "times": 1,
            }
        )

    def query(self, task_id: UUID, seq: int, at: datetime, moved: tuple[str, str] | None = None) -> None:
        """An answer to a query; ``moved``: how it changed the status of the task."""
        detail: dict[str, Any] = {"items": []} | ({"status": list(moved)} if moved else {})
        self._timeline.append(
            {"task_id": task_id, "seq": seq, "at": at, "type": "query", "version": 1, "detail": detail}
        )

    def _id(self, at: datetime) -> UUID:
        return UUID(int=first_id_of(at).int | 7 << 76 | 2 << 62 | self.rng.getrandbits(62))


def a_busy_day(conn: sa.Connection, now: datetime, hours: int = 24) -> None:
    """A day like many: fewer tasks at night, some failures, and half an hour of lost callbacks."""
    past = Past()
    rng = past.rng
    for minute in range(hours * 60):
        at = now - timedelta(minutes=hours * 60 - minute)
        load = 1.2 + 0.8 * (1 if 3 <= at.hour < 15 else -0.8) + 0.4 * rng.random()
        for _ in range(rng.randint(0, round(load * 3))):
            _a_task(past, at + timedelta(seconds=60 * rng.random()), now)
    past.write(conn)


def _a_task(past: Past, at: datetime, now: datetime) -> None:
    rng, ago = past.rng, now - at
    if ago < timedelta(0):
        return
    is_lost = timedelta(minutes=20) < ago < timedelta(minutes=34) or timedelta(hours=9) < ago < timedelta(hours=10.5)
    playable_s = rng.lognormvariate(4.75, 0.28) + (rng.uniform(90, 200) if is_lost else 0)
    final_s = playable_s + rng.uniform(15, 60)
    fate = rng.random()
    if final_s > ago.total_seconds():
        past.task(at, "main_succeeded" if playable_s < ago.total_seconds() else "running", playable_s)
        return
    status = "failed" if fate < 0.04 else "canceled" if fate < 0.06 else "part_failed" if fate < 0.1 else "succeeded"
    usable = status in ("succeeded", "part_failed")
    task_id = past.task(at, status, playable_s if usable else None, final_s if usable else 40)
    ended_at = at + timedelta(seconds=final_s)
    if is_lost:
        for seq in range(rng.randint(1, 3)):
            past.query(task_id, seq, ended_at - timedelta(seconds=15 * seq), ("running", status) if not seq else None)
    else:
        for place in range(3):
            past.callback(at + timedelta(seconds=playable_s + 12 * place))
