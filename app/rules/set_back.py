"""What becomes of a task's times when the clock has been set back since they were written: they lie ahead."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from app.rules.policy import Policy
from app.rules.task import Item, Task
from app.rules.timing import later

AHEAD_S: Final = 60.0
"""Replicas' clocks differ by some seconds, and a lock may be waited for; nothing else writes a time that lies ahead."""


def is_ahead(then: datetime | None, at: datetime) -> bool:
    """Whether something that has happened lies ahead."""
    return then is not None and then > later(at, AHEAD_S)


def set_back(task: Task, items: Iterable[Item], at: datetime, policy: Policy) -> set[tuple[str, str]]:
    """Bring back what lies ahead: what has happened is as if it had happened now, and a deadline that was counted from
    it counts from now. Returns the keys of the items that were changed. When a task was submitted stays as it was
    told: whether the vendor knows an item is told by the same clock."""
    if any(is_ahead(then, at) for then in (task.claimed_at, task.unconfirmed_at, task.submitted_at, task.updated_at)):
        task.claimed_at, task.unconfirmed_at = _past(task.claimed_at, at), _past(task.unconfirmed_at, at)
        task.deadline_at = _within(task.deadline_at, at, policy)
    changed = [one for one in items if is_ahead(one.last_query_at, at) or is_ahead(one.last_callback_at, at)]
    for item in changed:
        item.last_query_at, item.last_callback_at = _past(item.last_query_at, at), _past(item.last_callback_at, at)
    return {item.key for item in changed}


def _past(then: datetime | None, at: datetime) -> datetime | None:
    return at if is_ahead(then, at) else then


def _within(deadline: datetime | None, at: datetime, policy: Policy) -> datetime | None:
    return deadline if deadline is None else min(deadline, later(at, policy.deadline_s))
