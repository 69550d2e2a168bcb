"""Verifying: a task's items are made anew from its record and held against what is stored; repairing joins them in.

Repairing never erases: what the record says is joined into the stored state, through the one door, under the task's
lock. Where the record is incomplete, what is stored beyond it is told as such and is no fault.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.domain.audit import Action, By
from app.domain.board import Board
from app.domain.difference import Difference, Sort, differences
from app.domain.item import canonical, digest
from app.domain.observation import NamedBy
from app.domain.status import ItemStatus
from app.domain.task import Item, Task, derive_status
from app.domain.transition import MOST_ITEMS, Change
from app.domain.view import progress_of
from app.errors import NotFound
from app.flows.apply import Applied, load_locked, save_locked, step_all
from app.flows.audit import act
from app.flows.context import Context
from app.flows.present import Document
from app.flows.rebuild import ItemKey, Record, read_record
from app.flows.replay import hush
from app.storage import audit, items, record, state, tasks

PAGE: Final = 50
MOST_TOLD: Final = 50
"""Differences named in the timeline of a task, each with so many characters."""
MOST_FIELD_CHARS: Final = 100


@dataclass(slots=True)
class Verified:
    """What was found of one task. ``incomplete``: what its record lacks, in words; then ``beyond`` is what is stored
    and cannot be told from it. ``remaining``: what a repair left, None where nothing was repaired."""

    task_id: UUID
    differences: list[Difference] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    beyond: list[Difference] = field(default_factory=list)
    remaining: list[Difference] | None = None

    @property
    def fault(self) -> bool:
        """Whether something is wrong with the task, now."""
        return bool(self.differences if self.remaining is None else self.remaining)


async def verify(context: Context, by: By, task_id: UUID, *, repair: bool, notify: bool = False) -> Verified:
    """Hold a task against its record, and with ``repair`` join in what it lacks; durable when this returns, and then
    on the audit. Nobody is notified unless ``notify``. Raises ``NotFound``, ``Unavailable``."""
    found = await context.db.read(_look, context, task_id)
    if not found.differences:
        return found
    # Read without a lock, a task that changed meanwhile looks damaged.
    found, applied = await context.db.write(_look_again, context, by if repair else None, task_id, notify)
    context.committed(applied)
    return found


async def verify_some(
    context: Context, by: By, task_ids: Sequence[UUID] | None, *, repair: bool, notify: bool = False
) -> AsyncIterator[Verified]:
    """As ``verify``, for these tasks or (None) for each there is, in transactions of their own. Raises ``NotFound``
    for one that was named."""
    for task_id in task_ids or ():
        yield await verify(context, by, task_id, repair=repair, notify=notify)
    after: UUID | None = None
    while task_ids is None and (page := await context.db.read(record.page_of_tasks, after, PAGE)):
        for task_id in page:
            try:
                yield await verify(context, by, task_id, repair=repair, notify=notify)
            except NotFound:
                continue  # purged meanwhile
        after = page[-1]


def lines(found: Verified) -> list[str]:
    """What was found, for people: a line for each difference and each gap."""
    remaining = found.remaining or []
    shown = []
    for one in found.differences:
        repaired = " (repaired)" if found.remaining is not None and one not in remaining else ""
        place = f"{one.item_id or 'task'} {one.field}"
        shown.append(f"{found.task_id} {place}: stored {one.stored or '-'}, rebuilt {one.rebuilt or '-'}{repaired}")
    for one in found.beyond:
        shown.append(f"{found.task_id} {one.item_id} {one.field}: {one.stored or '-'}, not in the record")
    shown += [f"{found.task_id} incomplete record: {gap}" for gap in found.incomplete]
    return shown


def document(found: Verified) -> Document:
    """What was found, as JSON."""
    return {
        "task_id": str(found.task_id),
        "differences": [_told(one) for one in found.differences],
        "incomplete": found.incomplete,
        "beyond_record": [_told(one) for one in found.beyond],
        "repaired": found.remaining is not None,
        "remaining": [_told(one) for one in found.remaining or ()],
    }


def _told(one: Difference) -> Document:
    return {"item_id": one.item_id, "field": one.field, "stored": one.stored, "rebuilt": one.rebuilt}


def _look(conn: sa.Connection, context: Context, task_id: UUID) -> Verified:
    found = tasks.find(conn, task_id, None)
    if found is None:
        raise NotFound("there is no such task")
    board = Board()
    board.add_task(found.task)
    for item in state.items_of(conn, [task_id]):
        board.add_item(item)
    return _Examined(conn, context, board, found.task).verified()


def _look_again(
    conn: sa.Connection, context: Context, by: By | None, task_id: UUID, notify: bool
) -> tuple[Verified, Applied]:
    """``by``: who repairs; None, to look only."""
    now = context.clock.now()
    loaded = load_locked(conn, [Change(now, None, task_id)])
    task = loaded.board.tasks.get(task_id)
    if task is None:
        raise NotFound("there is no such task")
    examined = _Examined(conn, context, loaded.board, task)
    found = examined.verified()
    if by is None or not found.differences:
        return found, Applied()
    names = [_name_of(one) for one in found.differences]
    detail = {"differences": names[:MOST_TOLD], "count": len(names)}
    own = {item.key for item in loaded.board.items_of(task)} | examined.missing
    observations = tuple(seen for seen in examined.record.observations if seen.key in own)
    examined.restore_large(conn)
    applied = step_all(loaded, [Change(now, "repaired", task_id, observations, detail=detail)], context.rules)
    _shorten(loaded.board, task)
    if not notify:
        hush(loaded.board, applied)
    save_locked(conn, loaded, context.rules)
    told = {"client": task.client_name, "differences": len(names), "notify": notify}
    audit.record(conn, act(context.clock, by, Action.VERIFY_TASK, str(task_id), **told))
    found.remaining = _Examined(conn, context, loaded.board, task, examined.record).verified().differences
    return found, applied


def _name_of(one: Difference) -> str:
    """A difference for the timeline: a URL is signed, and stays out of it."""
    field = " ".join(one.field.split(" ")[:2]) if one.field.startswith("url ") else one.field
    return f"{one.item_id or 'task'}: {field}"[:MOST_FIELD_CHARS]


def _shorten(board: Board, task: Task) -> None:
    """Of the timeline's row keep the notes that say something: there is one for each observation ever made."""
    for entry in board.entries.get(task.id, ()):
        notes = entry.detail.get("items", ())
        if entry.type == "repaired" and notes:
            entry.detail["items"] = [note for note in notes if note.keys() & {"statuses", "fields"}][:MOST_TOLD]


class _Examined:
    """A task on a board, held against its record. ``missing``: items that the record names and nobody has."""

    def __init__(
        self, conn: sa.Connection, context: Context, board: Board, task: Task, recorded: Record | None = None
    ) -> None:
        self._context, self._board, self._task = context, board, task
        self._own = board.items_of(task)
        self.record = recorded or read_record(conn, task)
        keys = {item.key for item in self._own}
        self._states, self._rebuilt_large = self.record.states(keys)
        self._large = items.values_of(conn, self._own)
        self.missing = self._missing(conn, keys)

    def verified(self) -> Verified:
        """What is wrong, and what cannot be told."""
        found = Verified(self._task.id, incomplete=self.record.gaps)
        for item_id in sorted(item_id for _, item_id in self.missing):
            found.differences.append(Difference(item_id, "item", "", "named", Sort.LACKS))
        for item in self._own:
            for one in self._of_item(item):
                explained = one.sort is Sort.MORE and self.record.gaps
                (found.beyond if explained else found.differences).append(one)
        derived = derive_status(
            self._task.submission, self._task.expired_at is not None, [self._derived(item) for item in self._own]
        )
        if derived is not self._task.status:
            found.differences.append(Difference(None, "status", self._task.status, derived, Sort.LACKS))
        return found

    def restore_large(self, conn: sa.Connection) -> None:
        """Have large values written again that the state names and that are not there, or are not what their digest
        says: a join would not touch them."""
        for item in self._own:
            for _, wanted in item.state.large.values():
                held = self._large.get(wanted)
                if wanted not in self._rebuilt_large or (held is not None and digest(canonical(held)) == wanted):
                    continue
                record.drop_value(conn, item.key, wanted)
                self._board.large[(*item.key, wanted)] = self._rebuilt_large[wanted]

    def _of_item(self, item: Item) -> list[Difference]:
        quiet_us = self.record.quiet_us.get(item.key, ())
        found = differences(item.item_id, item.state, self._states[item.key], quiet_us, self._large)
        derived = self._derived(item)
        if derived is not item.status:
            found.append(Difference(item.item_id, "status (derived)", item.status, derived, Sort.LACKS))
        return found

    def _derived(self, item: Item) -> ItemStatus:
        shape = self._context.rules.shape_of(self._task.family)
        return progress_of(item, self._task, shape, self._context.policy).status

    def _missing(self, conn: sa.Connection, keys: set[ItemKey]) -> set[ItemKey]:
        named = {seen.key for seen in self.record.observations if seen.named_by is not NamedBy.NOBODY} - keys
        if not named or len(keys) >= MOST_ITEMS:
            return set()
        return named - items.owners(conn, named).keys()
