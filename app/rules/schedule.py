"""Schedule questions: when the next one about an item is due. Contact postpones it (G4); each answer that is not final
widens the interval; a lease in force is never cut short."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from app.rules.loaded_state import Rules
from app.rules.observation import ItemKey
from app.rules.policy import Policy
from app.rules.status import ITEM_FINAL
from app.rules.task import CopyStatus, Item, Task
from app.rules.times import later
from app.rules.views import Progress

AHEAD_S: Final = 60.0
"""Replicas' clocks differ by some seconds, and a lock may be waited for; nothing else writes a time that lies ahead."""
BACKOFF: Final = 1.5
JITTER: Final = 0.2
LINK_DEAD: Final = "link_dead"
"""Why a copy waits for a new link, or was given up."""
SUSPECT: Final = "suspect"
"""The group of items that the vendor did not know: asked among themselves, so that they do not spoil others."""


def is_ahead(then: datetime | None, at: datetime) -> bool:
    """Whether a time of something that has happened lies ahead."""
    return then is not None and then > later(at, AHEAD_S)


def set_back(task: Task, items: Iterable[Item], at: datetime, policy: Policy) -> set[ItemKey]:
    """Bring back times that lie ahead, after the clock was set back: what has happened is as if it had happened now,
    and a deadline that was counted from it counts from now. Returns the keys of the items that were changed. When a
    task was submitted is not changed: whether the vendor knows an item is measured by the same clock."""
    if any(is_ahead(then, at) for then in (task.claimed_at, task.unconfirmed_at, task.submitted_at, task.updated_at)):
        task.claimed_at, task.unconfirmed_at = _past(task.claimed_at, at), _past(task.unconfirmed_at, at)
        if task.deadline_at is not None:
            task.deadline_at = min(task.deadline_at, later(at, policy.deadline_s))
    changed = [item for item in items if is_ahead(item.last_query_at, at) or is_ahead(item.last_callback_at, at)]
    for item in changed:
        item.last_query_at, item.last_callback_at = _past(item.last_query_at, at), _past(item.last_callback_at, at)
    return {item.key for item in changed}


def _past(then: datetime | None, at: datetime) -> datetime | None:
    return at if is_ahead(then, at) else then


def plan_after_contact(item: Item, task: Task, at: datetime, rules: Rules) -> None:
    """Plan the next question after a callback came (or the item was just named): when the next callback is overdue."""
    item.query_attempts = 0
    item.query_group = ""
    if task.deadline_at is None or at < task.deadline_at or item.query_due_at is None:
        # After the deadline one last question is due, and frequent callbacks must not put it off for ever.
        _postpone(item, later(at, overdue_s(item, task, rules)))


def overdue_s(item: Item, task: Task, rules: Rules) -> float:
    """Seconds of silence after which the next callback of an item is overdue."""
    wait_s = rules.policy.first_after_s
    return rules.overdue_s(task.kind, len(item.state.events)) if wait_s is None else wait_s


def plan_after_answer(
    item: Item, asked_at: datetime, leased_until: datetime | None, *, news: bool, unknown: bool, rules: Rules
) -> None:
    """Plan the next question after the vendor answered one: the lease ends, and it is an interval away.

    An answer about an item that was final already is a follow-up: the vendor was asked for what is missing."""
    if item.status in ITEM_FINAL:
        item.follow_ups += 1
    lease = item.query_leased_until
    if lease is not None and lease != leased_until:
        return  # a late answer: somebody else is asking by now, under a lease of their own
    item.query_leased_until = None
    item.query_group = SUSPECT if unknown else ""
    item.query_attempts = 1 if news else item.query_attempts + 1
    item.query_due_at = later(asked_at, interval_s(item.query_attempts, rules.jitter(), rules.policy))


def interval_s(attempts: int, jitter: float, policy: Policy) -> float:
    """Seconds until the next question after ``attempts`` (≥1) without news; ``jitter`` is in [-1, 1]."""
    # The exponent is bounded: 1.5**2000 does not fit a float, and any bound above log(max) does.
    base = policy.interval_s * BACKOFF ** min(max(attempts - 1, 0), 64)
    return min(base * (1 + JITTER * jitter), policy.max_interval_s)


def waits_for_question(item: Item, at: datetime) -> bool:
    """Whether its question is due, or asked and not answered yet."""
    due_at, leased_until = item.query_due_at, item.query_leased_until
    return due_at is None or due_at <= at or (leased_until is not None and leased_until > at)


def wants_link(item: Item) -> bool:
    """Whether a file of an item is still to be copied whose link is dead: the vendor may have a new one."""
    return any(copy.reason == LINK_DEAD and copy.status is CopyStatus.PENDING for copy in (item.copies or {}).values())


def plan_query(item: Item, progress: Progress, task: Task, at: datetime, policy: Policy) -> None:
    """Adjust the due time to what the item has become: nothing to ask, artifacts missing, deadline near."""
    if (progress.settled or task.expired_at is not None) and not wants_link(item):
        item.query_due_at = item.query_leased_until = None
        item.query_group = ""
        return
    if item.query_due_at is None:
        item.query_due_at = at
    if progress.final and item.query_attempts == 0:
        last_contact_at = item.last_callback_at or at
        due = later(last_contact_at, policy.settle_after_s)
        if item.query_due_at > due:
            _postpone(item, due)
    _ask_at_deadline(item, task, at, policy)


def _ask_at_deadline(item: Item, task: Task, at: datetime, policy: Policy) -> None:
    """Plan one last query before a task expires: at the deadline, however far the interval has grown."""
    deadline = task.deadline_at
    if deadline is None or item.query_due_at is None or item.query_due_at <= deadline:
        return
    if item.last_query_at is not None and item.last_query_at >= deadline:
        return
    last_chance = deadline if at < deadline else later(at, policy.interval_s)
    if item.query_due_at > last_chance:
        _postpone(item, last_chance)


def _postpone(item: Item, due: datetime) -> None:
    lease = item.query_leased_until
    item.query_due_at = due if lease is None else max(due, lease)
