"""Read tasks as they are now, in batches, encoded once for all that wait for them."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.app_context import Context
from app.documents.document import Document, documents
from app.tasks import task_rows
from app.tasks.task_rows import TaskRecord
from app.watching.store import is_over

BATCH: Final = 100
"""Tasks per read."""
KEPT_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EncodedTask:
    """A task as its client sees it; ``body`` is the JSON. ``ended``: final, and nothing of it is due any more.
    ``read_at``: when the read began, by the monotonic clock."""

    client_name: str
    version: int
    ended: bool
    body: bytes
    read_at: float


class Current:
    """Reads tasks through a bounded cache of those that were read last, so that many streams of the same tasks cost one
    read."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: OrderedDict[UUID, EncodedTask] = OrderedDict()
        self._left = KEPT_BYTES

    async def at_least(self, wanted: Mapping[UUID, int]) -> dict[UUID, EncodedTask]:
        """Tasks in the wanted version or a newer one, from the cache where it has that; missing ones are left out.
        What has no part in a version (why it waits, when it was asked about) is of the moment at which it was read.
        Raises ``Unavailable``."""
        kept = {
            task_id: state
            for task_id, version in wanted.items()
            if (state := self._kept.get(task_id)) is not None and state.version >= version
        }
        rest = [task_id for task_id in wanted if task_id not in kept]
        return kept | await self.read(rest) if rest else kept

    async def read(self, task_ids: Iterable[UUID]) -> dict[UUID, EncodedTask]:
        """Read tasks as they are, in batches of one transaction each; missing ones are left out. Raises
        ``Unavailable``."""
        states: dict[UUID, EncodedTask] = {}
        rest = iter(task_ids)
        while batch := list(islice(rest, BATCH)):
            began_at = self._context.clock.monotonic()
            for record, document in await self._context.db.read(_read, batch, self._context):
                task = record.task
                ended = is_over(task.status, task.timer_due_at)
                state = EncodedTask(task.client_name, task.version, ended, msgspec.json.encode(document), began_at)
                states[task.id] = state
                self._keep(task.id, state)
        return states

    def _keep(self, task_id: UUID, state: EncodedTask) -> None:
        before = self._kept.pop(task_id, None)
        if before is not None:
            self._left += len(before.body)
            # Two reads may end in the other order than they began.
            state = max(before, state, key=lambda each: (each.version, each.read_at))
        self._kept[task_id] = state
        self._left -= len(state.body)
        while self._left < 0:
            _, dropped = self._kept.popitem(last=False)
            self._left += len(dropped.body)


def _read(conn: sa.Connection, task_ids: Sequence[UUID], context: Context) -> list[tuple[TaskRecord, Document]]:
    records = task_rows.find_many(conn, task_ids)
    return list(zip(records, documents(conn, records, context), strict=True))
