"""Derive a task from its facts and its items: status, times, what is due when, and what a client can see."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from app.rules.downtime import Absences, absent_s
from app.rules.loaded_state import EndedBy, ItemEnded, Loaded, Rules
from app.rules.observation import Source
from app.rules.policy import Policy
from app.rules.schedule import overdue_s, plan_query, waits_for_question
from app.rules.status import ITEM_FINAL, TASK_FINAL, TASK_USABLE, TaskStatus
from app.rules.submission import submission_due_at
from app.rules.task import Item, Submission, Task, derive_status
from app.rules.times import FAR, later
from app.rules.views import ItemsProgress, Progress, VisibleState, progress_of

LAST_QUERY_RETRY = timedelta(seconds=5)
"""How soon the clock looks again at a task whose last query is still outstanding; its answer expires it at once."""

NEARLY: Final = 0.8
"""Of the time after which a callback is overdue. A call is filled up with items that are due soon, and what is
learned of the times may have changed between the plan and the question."""


_NOT_TAKEN: Final = (
    Submission.QUEUED,
    Submission.SENDING,
    Submission.REFUSED,
    Submission.UNKNOWN,
    Submission.LAPSED,
    Submission.CANCELED,
)
"""While no item is known of such a task, nothing shows that the vendor has it."""


def derive(
    loaded: Loaded, task: Task, at: datetime, rules: Rules, absences: Absences | None = ()
) -> tuple[VisibleState, bool]:
    """Derive a task anew; returns its visible state then, and whether it expired now. Without ``absences`` it does not
    expire."""
    policy = rules.policy
    _note_possession(task, loaded.items_of(task), at, policy)
    progress_of_items = items_progress(loaded, task, rules)
    expired_before = task.expired_at
    expired = absences is not None and _expire(task, progress_of_items, at, policy, absences)
    if task.expired_at != expired_before:
        # What was still to come has failed now, also of a task that had ended before its deadline.
        progress_of_items = items_progress(loaded, task, rules)
    task.status = derive_status(
        task.submission, task.expired_at is not None, [progress.status for _, progress in progress_of_items]
    )
    if task.status in TASK_USABLE and task.playable_at is None:
        task.playable_at = at
    if task.status not in TASK_FINAL:
        task.finished_at = None
    elif task.finished_at is None:
        task.finished_at = at
    for item, progress in progress_of_items:
        if progress.final and item.status not in ITEM_FINAL:
            loaded.ended.append(ItemEnded(task, item, _ended_by(loaded, task, item, progress, rules)))
        status_before, due_before = item.status, item.query_due_at
        item.status = progress.status
        plan_query(item, progress, task, at, policy)
        if (status_before, due_before) != (item.status, item.query_due_at):
            loaded.dirty_items.add(item.key)
    _plan(task, progress_of_items, at, policy, absences or ())
    return VisibleState(task, progress_of_items), expired


def items_progress(loaded: Loaded, task: Task, rules: Rules) -> ItemsProgress:
    """How far the items of a task are as they are loaded."""
    shape = rules.shapes[task.family]
    return [(item, progress_of(item, task, shape, rules.policy)) for item in loaded.items_of(task)]


def _ended_by(loaded: Loaded, task: Task, item: Item, progress: Progress, rules: Rules) -> EndedBy:
    """What made an item final, by the source of the last observation and by whether a callback was due when we
    asked."""
    if progress.unknown_to_vendor:
        return EndedBy.DENIED
    if loaded.sources.get(item.key) is not Source.QUERY:
        return EndedBy.CALLBACK
    if task.external and item.last_callback_at is None:
        # Taken over from another system: nothing says that its callbacks come to us.
        return EndedBy.EARLY_QUERY
    last_contact_at = item.last_callback_at or task.claimed_at or task.created_at
    asked_at = item.last_query_at or last_contact_at
    was_due = asked_at >= later(last_contact_at, overdue_s(item, task, rules) * NEARLY)
    return EndedBy.QUERY if was_due else EndedBy.EARLY_QUERY


def _note_possession(task: Task, items: list[Item], at: datetime, policy: Policy) -> None:
    """Note that the vendor has the task, since an item is known: its deadline runs. An item that turned out to be
    another task's proves nothing: the task is as if it had never been named."""
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


def _expire(task: Task, progress_of_items: ItemsProgress, at: datetime, policy: Policy, absences: Absences) -> bool:
    """Expire the task if its deadline has passed, and the vendor has answered a last query of each item of which
    something is still open. A task that has ended only stops waiting for what is missing."""
    if task.expired_at is not None or task.deadline_at is None:
        return False
    deadline = _passes_at(task, task.deadline_at, absences)
    if at < deadline:
        return False
    if task.submission in _NOT_TAKEN and not progress_of_items:
        return False
    if task.submission is Submission.SENDING or (
        progress_of_items and all(progress.settled for _, progress in progress_of_items)
    ):
        return False
    open_items = [item for item, progress in progress_of_items if not progress.settled]
    answered = all(item.last_query_at is not None and item.last_query_at >= deadline for item in open_items)
    if not answered and not _cannot_be_asked(open_items, deadline, at, policy, absences):
        return False
    task.expired_at = at
    return any(not progress.final for _, progress in progress_of_items) or not progress_of_items


def _passes_at(task: Task, deadline: datetime, absences: Absences) -> datetime:
    """When the deadline passes: a clock that is set forward does not bring it nearer."""
    return later(deadline, absent_s(absences, task.submitted_at or task.created_at, jumped_only=True))


def _cannot_be_asked(
    open_items: Sequence[Item], deadline: datetime, at: datetime, policy: Policy, absences: Absences
) -> bool:
    """Whether the vendor could not be asked for as long again after the deadline. Time in which we could not ask does
    not count, and nothing is given up while it still waits for its question or for the answer."""
    passed_s = (at - deadline).total_seconds() - absent_s(absences, deadline)
    return passed_s >= policy.deadline_s and not any(waits_for_question(item, at) for item in open_items)


def _plan(task: Task, progress_of_items: ItemsProgress, at: datetime, policy: Policy, absences: Absences) -> None:
    """Plan when the task is due: to be sent, to be looked at by the clock; and how long it counts as in flight."""
    queued = task.submission is Submission.QUEUED and not progress_of_items
    task.dispatch_due_at = (task.not_before_at or min(task.created_at, at)) if queued else None
    task.timer_due_at = submission_due_at(task, bool(progress_of_items), policy, absences)
    if task.timer_due_at is None:
        task.timer_due_at = _deadline_due(task, progress_of_items, at, absences)
    if task.external or task.status in TASK_FINAL or task.status is TaskStatus.QUEUED:
        task.slot_until = None
    elif task.submission is Submission.UNKNOWN and not progress_of_items and task.claimed_at is not None:
        task.slot_until = later(task.claimed_at, policy.unconfirmed_slot_s)
    else:
        task.slot_until = FAR


def _deadline_due(task: Task, progress_of_items: ItemsProgress, at: datetime, absences: Absences) -> datetime | None:
    if task.expired_at is not None or (
        progress_of_items and all(progress.settled for _, progress in progress_of_items)
    ):
        return None
    if task.submission in _NOT_TAKEN and not progress_of_items:
        return None
    if task.deadline_at is None:
        return None
    deadline = _passes_at(task, task.deadline_at, absences)
    return deadline if at < deadline else at + LAST_QUERY_RETRY
