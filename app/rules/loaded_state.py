"""Tasks and items as they are loaded and changed in memory; and what is to be saved of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from app.rules.item_shape import Shape
from app.rules.join import ItemState
from app.rules.observation import ItemKey, Source
from app.rules.policy import Policy
from app.rules.task import Entry, Item, Task
from app.rules.views import VisibleState


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rules need from outside. ``shapes``: of the items of each family. ``overdue_s(kind, stage)``: seconds
    until the next callback of an item that has shown ``stage`` distinct events is overdue. ``jitter()``: a number in
    [-1, 1]. ``new_id()``: a UUIDv7."""

    policy: Policy
    shapes: Mapping[str, Shape]
    overdue_s: Callable[[str, int], float]
    jitter: Callable[[], float]
    new_id: Callable[[], UUID]


class DelaySample(msgspec.Struct, frozen=True):
    """A sample of the vendor's timing: a callback's event came for the first time, so long after the event before it,
    or (stage 0) after the claim."""

    kind: str
    stage: int
    delay_s: float


class StatusChange(msgspec.Struct, frozen=True):
    """The status of a task before and after one change."""

    task: Task
    before: str
    after: str


class Milestone(msgspec.Struct, frozen=True):
    """A milestone of a task that its client is notified of: ``running``, ``playable``, how it ended, ``archived``."""

    task_id: UUID
    name: str
    at: datetime


class CopyJob(msgspec.Struct, frozen=True):
    """A file to be copied into the archive. ``ends_at``: when its link ends."""

    key: ItemKey
    name: str
    task_id: UUID
    at: datetime
    ends_at: datetime


class EndedBy(StrEnum):
    """What made an item final."""

    CALLBACK = "callback"
    QUERY = "query"
    """A callback was due and had not come: it is lost, or later than callbacks of its kind are."""
    EARLY_QUERY = "early_query"
    """Asked before a callback was due (a refresh, or to fill a call), or where none is to be expected."""
    DENIED = "denied"
    """The vendor does not know it."""


class ItemEnded(msgspec.Struct, frozen=True):
    """An item became final."""

    task: Task
    item: Item
    by: EndedBy


class Loaded(msgspec.Struct):
    """Tasks with their items, as they were loaded and then changed in memory; ``dirty_*`` and ``entries`` are what must
    be written back. ``large``: new large values by family, item and digest; ``superseded``: items of which a large
    value is not referred to any more."""

    tasks: dict[UUID, Task] = {}
    items: dict[ItemKey, Item] = {}
    by_task: dict[UUID, list[Item]] = {}
    entries: dict[UUID, list[Entry]] = {}
    large: dict[tuple[str, str, str], Any] = {}
    superseded: set[ItemKey] = set()
    dirty_tasks: set[UUID] = set()
    dirty_items: set[ItemKey] = set()
    removed: set[UUID] = set()
    delay_samples: list[DelaySample] = []
    status_changes: list[StatusChange] = []
    milestones: list[Milestone] = []
    copy_jobs: dict[tuple[ItemKey, str], CopyJob] = {}
    """By item and artifact: each change of a task plans its copies anew, and PostgreSQL refuses two rows of one key."""
    new_links: dict[ItemKey, frozenset[str]] = {}
    """Fields of items that have another URL now."""
    moved: set[ItemKey] = set()
    """Items that belong to another task now."""
    sources: dict[ItemKey, Source] = {}
    """Who spoke of an item last."""
    ended: list[ItemEnded] = []
    visible: dict[UUID, VisibleState] = {}

    @property
    def changed(self) -> set[UUID]:
        """The tasks that have changed and stay."""
        return self.dirty_tasks - self.removed

    def add_task(self, task: Task) -> None:
        self.tasks[task.id] = task
        self.by_task.setdefault(task.id, [])
        if task.new:
            self.dirty_tasks.add(task.id)

    def add_item(self, item: Item) -> None:
        self.items[item.key] = item
        self.by_task.setdefault(item.task_id, []).append(item)
        if item.new:
            self.dirty_items.add(item.key)

    def move_item(self, item: Item, to: UUID) -> None:
        """Give an item, with its state, to another task."""
        self.by_task[item.task_id].remove(item)
        item.task_id = to
        item.position = len(self.by_task[to])
        self.by_task[to].append(item)
        self.dirty_items.add(item.key)
        self.moved.add(item.key)

    def items_of(self, task: Task) -> list[Item]:
        return self.by_task.get(task.id, [])

    def new_item(self, family: str, item_id: str, task: Task, named_by: int) -> Item:
        item = Item(
            family=family,
            item_id=item_id,
            task_id=task.id,
            named_by=named_by,
            position=len(self.items_of(task)),
            state=ItemState(),
            created_at=task.updated_at or task.created_at,
            new=True,
        )
        self.add_item(item)
        return item
