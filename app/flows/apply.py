"""The one door through which state changes: lock the tasks, load their items, step, write back.

Submissions' answers, callbacks, queries' answers, the clock and cancellation all come through here, so the order
of locks (limits → tasks → items → inbox → timeline) and the bookkeeping have one place.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa

from app.domain.board import Arrival, Board, Ended, Moved, Rules
from app.domain.task import Task
from app.domain.transition import Change, Outcome, step
from app.flows.letters import named_digests, written
from app.flows.traced import Followed, followed
from app.storage import items, locking, sets, statements, tasks, timeline
from app.storage.database import Conflicted
from app.storage.inbox import Receipt
from app.storage.locking import Obtained, lock_free, look


@dataclass(slots=True)
class Applied:
    """What a transaction did. ``outcomes`` matches the changes; None for one that was deferred since another
    transaction holds one of its tasks, or an item's owner changed meanwhile."""

    outcomes: list[Outcome | None] = field(default_factory=list)
    changed: set[UUID] = field(default_factory=set)
    arrivals: list[Arrival] = field(default_factory=list)
    moves: list[Moved] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    followed: list[Followed] = field(default_factory=list)
    notifies: bool = False
    told: bool = False
    """Whether the timeline of a task was told."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A board of locked tasks with their items; of ``unlocked`` ones as they were seen. ``strangers``: named items
    that belong to a task which is not on it: another transaction holds that one, or has only now given the item to
    it. ``receipts``: by digest. ``obtained``: the rows that the board was made of."""

    board: Board
    strangers: Collection[tuple[str, str]]
    receipts: dict[bytes, Receipt]
    obtained: Obtained

    def holds(self, change: Change) -> bool:
        """Whether everything that a change reaches is on the board."""
        if change.task_id is not None and change.task_id not in self.board.tasks:
            return False
        return not self.strangers or not any(seen.key in self.strangers for seen in change.observations)


def apply(conn: sa.Connection, changes: Sequence[Change], rules: Rules, *, skip_locked: bool = False) -> Applied:
    """Apply changes, in order, in the caller's transaction. Waits for locked tasks unless ``skip_locked``."""
    locked = lock(conn, changes, skip_locked=skip_locked)
    applied = step_all(locked, changes, rules)
    write_back(conn, locked.board, rules)
    return applied


def lock(
    conn: sa.Connection, changes: Sequence[Change], *, skip_locked: bool, digests: Collection[bytes] = ()
) -> Locked:
    """Lock the tasks that the changes name and those that own the items they name, read their items, and look
    callbacks up by ``digests``. Where it waits for locks, it reads in a second statement: what the first one sees may
    be older than its locks."""
    named, keys = _reached(changes)
    if not skip_locked:
        tasks.lock(conn, named, keys)
    locked = _on_a_board(conn, keys, lock_free(conn, named, keys, digests))
    if locked.strangers and not skip_locked:
        raise Conflicted  # an owner changed while we waited for its lock
    return locked


def unlocked(conn: sa.Connection, changes: Sequence[Change], digests: Collection[bytes]) -> Locked:
    """The same without any lock, to be written by ``write_unless_changed``."""
    named, keys = _reached(changes)
    return _on_a_board(conn, keys, look(conn, named, keys, digests))


def _reached(changes: Sequence[Change]) -> tuple[set[UUID], set[tuple[str, str]]]:
    """The tasks and items that changes name."""
    keys = {seen.key for change in changes for seen in change.observations}
    return {change.task_id for change in changes if change.task_id is not None}, keys


def _on_a_board(conn: sa.Connection, keys: Collection[tuple[str, str]], obtained: Obtained) -> Locked:
    board = Board()
    for task in obtained.tasks:
        board.add_task(task)
    for item in obtained.items:
        board.add_item(item)
    strangers = items.owners(conn, keys - board.items.keys())
    return Locked(board, strangers, {receipt.digest: receipt for receipt in obtained.receipts}, obtained)


def step_all(locked: Locked, changes: Sequence[Change], rules: Rules) -> Applied:
    """Apply changes to a locked board, in memory."""
    board = locked.board
    applied = Applied([step(board, change, rules) if locked.holds(change) else None for change in changes])
    applied.changed = board.dirty_tasks - board.removed
    applied.arrivals, applied.moves = board.arrivals, board.moves
    applied.ended, applied.followed = board.ended, followed(board)
    applied.notifies = bool(board.milestones)
    applied.told = bool(board.entries)
    return applied


def write_back(conn: sa.Connection, board: Board, rules: Rules, *inbox: statements.Change) -> None:
    """Write the ``inbox``, what has changed on a board, and the notifications of it. Large values that nothing refers
    to any more go."""
    sets.write(conn, [*inbox, *_changed_rows(board, rules)])
    timeline.thin_out(conn, timeline.overfull(_kept(board)))
    tasks.delete(conn, board.removed)
    superseded = [item for key in sorted(board.superseded) if (item := board.items[key]).task_id not in board.removed]
    if superseded:
        items.drop_old_values(conn, superseded, named_digests(conn, {item.task_id for item in superseded}))


def write_unless_changed(conn: sa.Connection, seen: Locked, rules: Rules, *inbox: statements.Change) -> None:
    """The same for a board without locks, in one statement. Raises ``Conflicted``, or the database's error, where
    somebody else is at its rows or has changed them, and where one statement does not do; then nothing is written."""
    changed = _changed_rows(seen.board, rules)
    if seen.board.removed or timeline.overfull(_kept(seen.board)):
        raise Conflicted
    locking.write_unless_changed(conn, [*inbox, *changed], seen.obtained)


def _changed_rows(board: Board, rules: Rules) -> list[statements.Change]:
    kept = _kept(board)
    entries = [(task, entry) for task in kept for entry in board.entries.get(task.id, ())]
    for task in kept:
        task.timeline_seq += len(board.entries.get(task.id, ()))
    return [
        *tasks.changed(kept),
        *items.changed(board.items[key] for key in _live(board)),
        items.new_values(board.large),
        timeline.appended(entries),
        written(board, rules),
    ]


def _kept(board: Board) -> list[Task]:
    """The tasks that have changed and stay, by id."""
    return [board.tasks[task_id] for task_id in sorted(board.dirty_tasks) if task_id not in board.removed]


def _live(board: Board) -> Iterable[tuple[str, str]]:
    return (key for key in sorted(board.dirty_items) if board.items[key].task_id not in board.removed)
