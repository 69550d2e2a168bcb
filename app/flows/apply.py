"""The one door through which state changes: lock the tasks, load their items, step, write back.

Submissions' answers, callbacks, queries' answers, the clock and cancellation all come through here, so the order
of locks (limits → tasks → inbox → items → timeline) and the bookkeeping have one place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa

from app.domain.board import Arrival, Board, Moved, Rules
from app.domain.transition import Change, Outcome, step
from app.storage import items, tasks, timeline


@dataclass(slots=True)
class Applied:
    """What a transaction did. ``outcomes`` matches the changes; None for one that was deferred since another
    transaction holds one of its tasks, or an item's owner changed meanwhile."""

    outcomes: list[Outcome | None] = field(default_factory=list)
    changed: set[UUID] = field(default_factory=set)
    arrivals: list[Arrival] = field(default_factory=list)
    moves: list[Moved] = field(default_factory=list)


def apply(conn: sa.Connection, changes: Sequence[Change], rules: Rules, *, skip_locked: bool = False) -> Applied:
    """Apply changes, in order, in the caller's transaction. Waits for locked tasks unless ``skip_locked``."""
    board = lock_tasks(conn, changes, skip_locked=skip_locked).board
    return apply_locked(conn, board, changes, rules)


@dataclass(frozen=True, slots=True)
class Locked:
    """A board of locked tasks, and the owners that items had before the locks were taken."""

    board: Board
    owners: dict[tuple[str, str], UUID]


def lock_tasks(conn: sa.Connection, changes: Sequence[Change], *, skip_locked: bool) -> Locked:
    """Lock the tasks that the changes name, and those that own the items they name."""
    owners = items.owners(conn, {seen.key for change in changes for seen in change.observations})
    wanted = set(owners.values())
    wanted.update(change.task_id for change in changes if change.task_id is not None)
    board = Board()
    for task in tasks.lock(conn, wanted, skip=skip_locked):
        board.add_task(task)
    return Locked(board, owners)


def apply_locked(conn: sa.Connection, board: Board, changes: Sequence[Change], rules: Rules) -> Applied:
    """Apply changes to a board of locked tasks, and write it. Items are read again, under the locks."""
    for item in items.lock_of_tasks(conn, board.tasks):
        board.add_item(item)
    strangers = _owned_elsewhere(conn, board, changes)
    applied = Applied()
    for change in changes:
        ready = _is_ready(board, change, strangers)
        applied.outcomes.append(step(board, change, rules) if ready else None)
    _write(conn, board)
    applied.changed = board.dirty_tasks - board.removed
    applied.arrivals, applied.moves = board.arrivals, board.moves
    return applied


def _owned_elsewhere(conn: sa.Connection, board: Board, changes: Sequence[Change]) -> set[tuple[str, str]]:
    """Named items that belong to a task which is not on the board: it is locked, or became the owner just now."""
    keys = {seen.key for change in changes for seen in change.observations}
    return set(items.owners(conn, keys - board.items.keys()))


def _is_ready(board: Board, change: Change, strangers: set[tuple[str, str]]) -> bool:
    if change.task_id is not None and change.task_id not in board.tasks:
        return False
    return not any(seen.key in strangers for seen in change.observations)


def _write(conn: sa.Connection, board: Board) -> None:
    kept = [task_id for task_id in sorted(board.dirty_tasks) if task_id not in board.removed]
    changed = [board.tasks[task_id] for task_id in kept]
    entries = [(task, entry) for task in changed for entry in board.entries.get(task.id, ())]
    for task in changed:
        task.timeline_seq += len(board.entries.get(task.id, ()))
    tasks.save(conn, changed)
    items.save(conn, [board.items[key] for key in _live(board)])
    items.save_values(conn, board.large)
    timeline.append(conn, entries)
    tasks.delete(conn, board.removed)


def _live(board: Board) -> Iterable[tuple[str, str]]:
    return (key for key in sorted(board.dirty_items) if board.items[key].task_id not in board.removed)
