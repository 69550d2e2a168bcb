"""Counting how items ended, after the commit: lost callbacks, how late our word was, and what no question was asked
about."""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final

from app.rules.loaded import EndedBy, ItemEnded, StatusChange
from app.rules.observation import to_us
from app.rules.status import TASK_FINAL
from app.rules.task import Item
from app.runtime import metrics
from app.tempolor.kinds import FAMILIES, KINDS

MILLISECONDS_FROM: Final = 100_000_000_000
"""The vendor's times are seconds, or milliseconds from here on: in seconds this is the year 5138."""

_ended: Final = lru_cache(metrics.items_ended.labels)
_lost: Final = lru_cache(metrics.callbacks_lost.labels)
_saved: Final = lru_cache(metrics.queries_saved.labels)
_lag: Final = lru_cache(metrics.convergence_lag.labels)

for _family in FAMILIES.values():
    # A rate needs the zero before the first one.
    _saved(_family.name)
    for _kind in (_family.external_kind, *(kind.name for kind in KINDS.values() if kind.family is _family)):
        _lost(_kind)
        for _by in EndedBy:
            _ended(_kind, _by.value)


def count(ended: Iterable[ItemEnded], now: datetime, most_lag_s: float) -> None:
    """Count items that a committed transaction made final. ``now`` is when it was durable; a lag above
    ``most_lag_s`` is taken for a wrong clock. Costs a few microseconds for an item, and nothing without one."""
    for one in ended:
        _ended(one.task.kind, one.by.value).inc()
        if one.by is EndedBy.QUERY:
            _lost(one.task.kind).inc()
        if one.item.last_query_at is None:
            _saved(one.task.family).inc()
        lag_s = lag_of(one.item, now)
        if lag_s is None:
            continue
        if 0 <= lag_s <= most_lag_s:
            _lag(one.by.value).observe(lag_s)
        else:
            metrics.convergence_lag_rejected.inc()


def count_tasks(status_changes: Iterable[StatusChange]) -> None:
    """Count tasks that a committed transaction ended, by client. One that is reopened ends again."""
    for moved in status_changes:
        if moved.after in TASK_FINAL and moved.before not in TASK_FINAL:
            metrics.note_client_tasks(moved.task.client_name, moved.after)


def lag_of(item: Item, now: datetime) -> float | None:
    """Seconds since the vendor finished an item, by its own ``finished_at``; None if it has told none."""
    finished = item.state.value("finished_at")
    if isinstance(finished, bool) or not isinstance(finished, (int, float)) or finished <= 0:
        return None
    finished_s = finished / 1000 if finished >= MILLISECONDS_FROM else finished
    return to_us(now) / 1_000_000 - finished_s
