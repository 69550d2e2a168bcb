"""The one door through which state changes: load the tasks with their items, step in memory, save.

Submissions' answers, callbacks, queries' answers, the clock and cancellation all come through here, so the order
of locks (limits → tasks → items → inbox → timeline) and the bookkeeping have one place. What is loaded is saved only
if nobody else has changed it since. Callers that must succeed lock first (``load_locked``); callers that can try again
load without locks (``load_parts``), and are told which parts were not saved.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import msgspec
import sqlalchemy as sa

from app.database import dialect
from app.database.database import StaleRead
from app.rules.loaded_state import DelaySample, ItemEnded, Loaded, Rules, StatusChange
from app.rules.observation import ItemKey
from app.rules.task import Entry, Task
from app.rules.transition import Change, ChangeResult, step
from app.tasks import item_rows, notification_rows, state_store, task_rows, timeline, writes
from app.tasks.state_store import Receipt
from app.tasks.writes import Row

CLEAN_FROM_BODIES: Final = 16
"""Large values that nothing refers to any more are deleted of tasks with at least so many stored bodies. An ordinary
task has fewer, and to look for such values takes a transaction."""


class Effects(msgspec.Struct):
    """What a unit of work did, for what follows its commit. ``results`` matches the changes; None for one whose task is
    no more, or that was not saved since another transaction was at it."""

    results: list[ChangeResult | None] = []
    changed: set[UUID] = set()
    delay_samples: list[DelaySample] = []
    status_changes: list[StatusChange] = []
    ended: list[ItemEnded] = []
    entries: list[tuple[Task, Entry]] = []
    """New in the timelines of tasks."""
    applied_ns: int = 0
    """When the changes were applied, in the transaction: nanoseconds since the epoch."""
    notifies: bool = False
    copies: bool = False
    """Whether files are to be copied."""

    def add(self, other: "Effects") -> None:
        """Add the effects of another one, but for its results."""
        self.changed |= other.changed
        self.delay_samples += other.delay_samples
        self.status_changes += other.status_changes
        self.ended += other.ended
        self.entries += other.entries
        self.applied_ns = max(self.applied_ns, other.applied_ns)
        self.notifies |= other.notifies
        self.copies |= other.copies


class UnitOfWork(msgspec.Struct):
    """A unit of work: tasks with their items, as they were loaded and then changed in memory, saved together or not
    at all. ``receipts``: of the callbacks that are known, by digest. ``callbacks`` and ``settled_callbacks``: rows of
    the log to be saved with it, see ``writes``. ``…_revisions``: the versions of the rows that were loaded."""

    loaded: Loaded = msgspec.field(default_factory=Loaded)
    receipts: dict[bytes, Receipt] = {}
    callbacks: list[Row] = []
    settled_callbacks: list[Row] = []
    task_revisions: dict[UUID, str] = {}
    item_revisions: dict[ItemKey, str] = {}


def apply(conn: sa.Connection, changes: Sequence[Change], rules: Rules, *, skip_locked: bool = False) -> Effects:
    """Apply changes, in order, in the caller's transaction. Waits for tasks that another transaction holds; with
    ``skip_locked`` it passes over them, and over those that have just been changed."""
    if not skip_locked:
        unit = load_locked(conn, changes)
        effects = step_all(unit, changes, rules)
        save_locked(conn, unit, rules)
        return effects
    names = [(change.task_id, [observation.key for observation in change.observations]) for change in changes]
    parts = load_parts(conn, names)
    stepped = [step_all(unit, [changes[index] for index in indexes], rules) for unit, indexes in parts]
    are_saved = save_parts(conn, [unit for unit, _ in parts], rules)
    effects = Effects([None] * len(changes))
    for (_, indexes), part_effects, is_saved in zip(parts, stepped, are_saved, strict=True):
        if is_saved:
            effects.add(part_effects)
            for index, result in zip(indexes, part_effects.results, strict=True):
                effects.results[index] = result
    return effects


def load_locked(conn: sa.Connection, changes: Sequence[Change]) -> UnitOfWork:
    """Lock and load the tasks that changes name and those that own the items they name, with their items. It loads in
    a second statement: what the first one sees may be older than its locks."""
    task_ids = {change.task_id for change in changes if change.task_id is not None}
    keys = {observation.key for change in changes for observation in change.observations}
    state_store.lock(conn, task_ids, keys)
    unit = UnitOfWork()
    _distribute(state_store.load(conn, task_ids, keys), lambda _task_id: unit)
    return unit


def load_parts(
    conn: sa.Connection,
    names: Sequence[tuple[UUID | None, Sequence[ItemKey]]],
    digests: Sequence[bytes] = (),
    *,
    wait: bool = False,
) -> list[tuple[UnitOfWork, list[int]]]:
    """Load without locks (``wait``: with them) what changes name, each its task and items, in parts that have no task
    and no item in common; with each part the indexes of its changes. ``digests``: of callbacks, to be known again."""
    task_ids = {task_id for task_id, _ in names if task_id is not None}
    keys = {key for _, its_keys in names for key in its_keys}
    if wait:
        state_store.lock(conn, task_ids, keys)
    rows = state_store.load(conn, task_ids, keys, digests)
    receipts = {receipt.digest: receipt for receipt in rows.receipts}
    owners = {item.key: item.task_id for item in rows.items}
    # The members of the part that a name is in: a list that they share. The shorter one joins the longer one.
    members: dict[object, list[object]] = {}
    firsts: list[object] = []
    for task_id, its_keys in names:
        # An item is called by its task, one that is new by its key. Changes that name neither a task nor an item are
        # one part: they are counted against one allowance.
        called: list[object] = [owners.get(key, key) for key in its_keys]
        if task_id is not None or not called:
            called.append(task_id)
        firsts.append(called[0])
        together = members.setdefault(called[0], called[:1])
        for name in called[1:]:
            others = members.setdefault(name, [name])
            if others is together:
                continue
            if len(others) > len(together):
                together, others = others, together
            together += others
            members.update(dict.fromkeys(others, together))
    parts: dict[int, tuple[UnitOfWork, list[int]]] = {}
    for index, name in enumerate(firsts):
        parts.setdefault(id(members[name]), (UnitOfWork(receipts=receipts), []))[1].append(index)
    _distribute(rows, lambda task_id: parts[id(members[task_id])][0])
    return list(parts.values())


def _distribute(rows: state_store.Rows, part_of: Callable[[UUID], UnitOfWork]) -> None:
    """Put each task with its items into its part."""
    for task, revision in zip(rows.tasks, rows.task_revisions, strict=True):
        unit = part_of(task.id)
        unit.loaded.add_task(task)
        unit.task_revisions[task.id] = revision
    for item, revision in zip(rows.items, rows.item_revisions, strict=True):
        unit = part_of(item.task_id)
        unit.loaded.add_item(item)
        unit.item_revisions[item.key] = revision


def step_all(unit: UnitOfWork, changes: Sequence[Change], rules: Rules) -> Effects:
    """Apply changes to what was loaded, in memory, but for those to tasks that are no more."""
    loaded, effects = unit.loaded, Effects()
    for change in changes:
        is_lost = change.task_id is not None and change.task_id not in loaded.tasks
        effects.results.append(None if is_lost else step(loaded, change, rules))
    effects.changed = loaded.changed
    effects.delay_samples, effects.status_changes = loaded.delay_samples, loaded.status_changes
    effects.ended = loaded.ended
    effects.entries = [
        (loaded.tasks[task_id], entry)
        for task_id, entries in loaded.entries.items()
        if task_id in effects.changed
        for entry in entries
    ]
    effects.applied_ns = time.time_ns()
    effects.notifies = bool(loaded.milestones)
    effects.copies = bool(loaded.copy_jobs)
    return effects


def save_locked(conn: sa.Connection, unit: UnitOfWork, rules: Rules) -> None:
    """Save what was locked and loaded, in the caller's transaction. Raises ``StaleRead`` if an owner changed while it
    was waited for."""
    if not all(save_parts(conn, [unit], rules)):
        raise StaleRead


def save_parts(
    conn: sa.Connection, parts: Sequence[UnitOfWork], rules: Rules, *, in_one_statement: bool = False
) -> list[bool]:
    """Save each part that nobody else has changed since it was loaded, and nobody holds: its rows of the log, its
    changed rows, and its notifications; large values that nothing refers to any more are deleted. Returns which were
    saved. ``in_one_statement``: there is no transaction around it, and parts that need further statements are not
    saved."""
    to_save = [_part_to_save(unit, rules) for unit in parts]
    without_transaction = in_one_statement and dialect.is_postgresql(conn)
    chosen = [index for index, part in enumerate(to_save) if not (without_transaction and part.needs_transaction)]
    saved = [False] * len(parts)
    for index, is_saved in zip(chosen, state_store.save(conn, [to_save[index] for index in chosen]), strict=True):
        saved[index] = is_saved
        if is_saved and (to_save[index].needs_transaction or not in_one_statement):
            _delete_leftovers(conn, parts[index].loaded)
    return saved


def _needs_transaction(loaded: Loaded, changed_tasks: Sequence[Task]) -> bool:
    """Whether something has to be deleted too, which takes further statements."""
    overfull = (task.timeline_seq > timeline.MOST_ENTRIES for task in changed_tasks)
    flooded = (loaded.tasks[loaded.items[key].task_id].stored_bodies >= CLEAN_FROM_BODIES for key in loaded.superseded)
    return bool(loaded.removed) or any(overfull) or any(flooded)


def _delete_leftovers(conn: sa.Connection, loaded: Loaded) -> None:
    timeline.thin_out(conn, _changed_tasks(loaded))
    task_rows.delete(conn, loaded.removed)
    superseded = [
        item for key in sorted(loaded.superseded) if (item := loaded.items[key]).task_id not in loaded.removed
    ]
    if superseded:
        item_rows.drop_old_values(
            conn, superseded, notification_rows.named_digests(conn, {item.task_id for item in superseded})
        )


def _part_to_save(unit: UnitOfWork, rules: Rules) -> state_store.Part:
    loaded = unit.loaded
    tasks = _changed_tasks(loaded)
    entries: list[Row] = []
    for task in tasks:
        for entry in loaded.entries.get(task.id, ()):
            task.timeline_seq += 1
            entries.append(timeline.row_of(task, entry))
    live_items = [
        item for key in sorted(loaded.dirty_items) if (item := loaded.items[key]).task_id not in loaded.removed
    ]
    rows: dict[writes.Write, Sequence[Row]] = {
        writes.NEW_TASKS: [task_rows.new_row(task) for task in tasks if task.new],
        writes.CHANGED_TASKS: [task_rows.changing_of(task) for task in tasks if not task.new],
        writes.NEW_ITEMS: [item_rows.row_of(item) for item in live_items if item.new],
        writes.CHANGED_ITEMS: [item_rows.row_of(item) for item in live_items if not item.new],
        writes.NEW_VALUES: [(*key, loaded.large[key]) for key in sorted(loaded.large)],
        writes.CALLBACKS: unit.callbacks,
        writes.SETTLED_CALLBACKS: unit.settled_callbacks,
        writes.NEW_ENTRIES: entries,
        writes.NEW_NOTIFICATIONS: notification_rows.new_rows(loaded, rules),
        writes.COPY_JOBS: [
            (*job.key, job.name, job.task_id, job.at, job.ends_at, job.at, 0)
            for job in loaded.copy_jobs.values()
            if job.task_id not in loaded.removed
        ],
    }
    return state_store.Part(rows, unit.task_revisions, unit.item_revisions, _needs_transaction(loaded, tasks))


def _changed_tasks(loaded: Loaded) -> list[Task]:
    """The tasks that have changed and stay, by id."""
    return [loaded.tasks[task_id] for task_id in sorted(loaded.changed)]
