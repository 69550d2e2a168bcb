"""A task derived from its facts and its items: status, times, what is due when, and what a client can see."""

from datetime import datetime, timedelta
from typing import Any, Final

from app.domain.board import Board, Rules
from app.domain.policy import Policy
from app.domain.schedule import plan_query
from app.domain.status import TASK_FINAL, TASK_USABLE, TaskStatus
from app.domain.submission import submission_due_at
from app.domain.task import Item, Submission, Task, derive_status
from app.domain.timing import FAR, later
from app.domain.view import ItemView, view_item

LAST_QUERY_RETRY = timedelta(seconds=5)
"""How soon the clock looks again at a task whose last query is still outstanding; its answer expires it at once."""


_NOT_TAKEN: Final = (
    Submission.QUEUED,
    Submission.SENDING,
    Submission.REFUSED,
    Submission.UNKNOWN,
    Submission.LAPSED,
    Submission.CANCELED,
)
"""While no item is known of such a task, nothing shows that the vendor has it."""


def fingerprint(board: Board, task: Task, rules: Rules) -> Any:
    """Everything of a task that a client can see and that can change: equal prints mean nothing visible changed."""
    shape = rules.shape_of(task.family)
    return _fingerprint(task, [(item, view_item(item, task, shape, rules.policy)) for item in board.items_of(task)])


def _fingerprint(task: Task, views: list[tuple[Item, ItemView]]) -> Any:
    return (
        task.status,
        task.failure,
        task.submitted_at,
        task.deadline_at,
        tuple(
            (
                item.item_id,
                view.status,
                item.state.statuses.copy(),
                tuple(view.artifacts.items()),
                view.sections,
                [(name, held[1]) for name, held in sorted(item.state.values.items())],
                sorted((name, held[1]) for name, held in item.state.large.items()),
            )
            for item, view in views
        ),
    )


def derive(board: Board, task: Task, at: datetime, rules: Rules) -> tuple[Any, bool]:
    """Bring everything derived of a task up to its facts. Returns its new print, and whether it expired now."""
    shape, policy = rules.shape_of(task.family), rules.policy
    items = board.items_of(task)
    _note_possession(task, items, at, policy)
    views = [(item, view_item(item, task, shape, policy)) for item in items]
    expired = _expire(task, views, at, policy)
    if expired:
        views = [(item, view_item(item, task, shape, policy)) for item in items]
    task.status = derive_status(task.submission, task.expired_at is not None, [view.status for _, view in views])
    _note_times(task, at)
    for item, view in views:
        status_before, due_before = item.status, item.query_due_at
        item.status = view.status
        plan_query(item, view, task, at, policy)
        if (status_before, due_before) != (item.status, item.query_due_at):
            board.dirty_items.add(item.key)
    _plan(task, views, at, policy)
    return _fingerprint(task, views), expired


def _note_possession(task: Task, items: list[Item], at: datetime, policy: Policy) -> None:
    """An item is known: the vendor has the task, and its deadline runs. An item that turned out to be another
    task's proves nothing: the task is as if it had never been named."""
    if not items:
        if task.submission in _NOT_TAKEN:
            task.submitted_at = task.expired_at = task.playable_at = None
            lost = task.submission in (Submission.UNKNOWN, Submission.LAPSED)
            task.deadline_at = later(task.claimed_at, policy.deadline_s) if lost and task.claimed_at else None
        return
    if task.submitted_at is None:
        task.submitted_at = at
    overrun = task.deadline_at is not None and at >= task.deadline_at and task.expired_at is None
    first_time = task.status in (TaskStatus.QUEUED, TaskStatus.CANCELED, TaskStatus.FAILED) and overrun
    if task.deadline_at is None or first_time:
        task.deadline_at = later(at, policy.deadline_s)


def _expire(task: Task, views: list[tuple[Item, ItemView]], at: datetime, policy: Policy) -> bool:
    """Whether the deadline ends the task now: it has passed, and the last query of each open item was answered
    (or could not be for as long again). A task that has ended only stops waiting for what is missing."""
    if task.expired_at is not None or task.deadline_at is None or at < task.deadline_at:
        return False
    if task.submission in _NOT_TAKEN and not views:
        return False
    if task.submission is Submission.SENDING or (views and all(view.settled for _, view in views)):
        return False
    deadline = task.deadline_at
    open_items = [item for item, view in views if not view.final]
    answered = all(item.last_query_at is not None and item.last_query_at >= deadline for item in open_items)
    if not answered and at < later(deadline, policy.deadline_s):
        return False
    task.expired_at = at
    return bool(open_items) or not views


def _note_times(task: Task, at: datetime) -> None:
    if task.status in TASK_USABLE and task.playable_at is None:
        task.playable_at = at
    if task.status not in TASK_FINAL:
        task.finished_at = None
    elif task.finished_at is None:
        task.finished_at = at


def _plan(task: Task, views: list[tuple[Item, ItemView]], at: datetime, policy: Policy) -> None:
    """When the task is due: to be sent, to be looked at by the clock; and how long it counts as in flight."""
    queued = task.submission is Submission.QUEUED and not views
    task.dispatch_due_at = (task.not_before_at or task.created_at) if queued else None
    task.timer_due_at = submission_due_at(task, bool(views), policy) or _deadline_due(task, views, at)
    task.slot_until = _slot_until(task, bool(views), policy)


def _deadline_due(task: Task, views: list[tuple[Item, ItemView]], at: datetime) -> datetime | None:
    if task.expired_at is not None or (views and all(view.settled for _, view in views)):
        return None
    if task.submission in _NOT_TAKEN and not views:
        return None
    if task.deadline_at is None or at < task.deadline_at:
        return task.deadline_at
    return at + LAST_QUERY_RETRY


def _slot_until(task: Task, named: bool, policy: Policy) -> datetime | None:
    if task.external or task.status in TASK_FINAL or task.status is TaskStatus.QUEUED:
        return None
    if task.submission is Submission.UNKNOWN and not named and task.claimed_at is not None:
        return later(task.claimed_at, policy.unconfirmed_slot_s)
    return FAR
