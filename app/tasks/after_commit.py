"""Report what a transaction did to tasks, once it is durable: metrics, spans of their traces, and a log line at
``info`` for each new entry of a timeline, so that one task can be followed by its id over the logs of all processes."""

import logging
import time
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import structlog

from app.rules.loaded_state import EndedBy, ItemEnded
from app.rules.status import TASK_FINAL
from app.rules.task import Entry, Item, Task
from app.rules.times import to_us
from app.runtime import metrics, traces
from app.tasks.apply import Effects
from app.tempolor.kinds import FAMILIES, KINDS

log = structlog.get_logger(__name__)

_NAMED: Final = frozenset(
    {
        *("callback_id", "notification_id", "notification", "outcome", "attempts"),
        *("attempt", "code", "vendor_status", "reason", "late"),
    }
)
MILLISECONDS_FROM: Final = 100_000_000_000
"""The vendor's times are seconds, or milliseconds from here on: in seconds this is the year 5138."""
MOST_CLIENTS: Final = 50
_clients: Final[set[str]] = set()

_ended: Final = lru_cache(metrics.items_ended.labels)
_lost: Final = lru_cache(metrics.callbacks_lost.labels)
_saved: Final = lru_cache(metrics.queries_saved.labels)
_lag: Final = lru_cache(metrics.convergence_lag.labels)

for _family in FAMILIES.values():
    # Prometheus' rate() needs a 0 before the first increment.
    _saved(_family.name)
    for _kind in (_family.external_kind, *(kind.name for kind in KINDS.values() if kind.family is _family)):
        _lost(_kind)
        for _by in EndedBy:
            _ended(_kind, _by.value)


def report(effects: Effects, now: datetime, most_lag_s: float) -> None:
    """Count, trace and log what a transaction did. ``now`` is when it was durable; a lag above ``most_lag_s`` is taken
    for a wrong clock."""
    for end in effects.ended:
        _count_end(end, now, most_lag_s)
    for change in effects.status_changes:
        # One that is reopened ends again.
        if change.after in TASK_FINAL and change.before not in TASK_FINAL:
            note_client_tasks(change.task.client_name, change.after)
    if traces.is_on():
        _trace(effects.entries, effects.applied_ns)
    if log.is_enabled_for(logging.INFO):
        for task, entry in effects.entries:
            log.info(f"task.{entry.type}", **_fields(task, entry))


def _count_end(end: ItemEnded, now: datetime, most_lag_s: float) -> None:
    _ended(end.task.kind, end.by.value).inc()
    if end.by is EndedBy.QUERY:
        _lost(end.task.kind).inc()
    if end.item.last_query_at is None:
        _saved(end.task.family).inc()
    lag_s = lag_of(end.item, now)
    if lag_s is not None and 0 <= lag_s <= most_lag_s:
        _lag(end.by.value).observe(lag_s)
    elif lag_s is not None:
        metrics.convergence_lag_rejected.inc()


def note_client_tasks(client: str, outcome: str, count: int = 1) -> None:
    """Count tasks of a client. The first clients since the start have series of their own."""
    if client not in _clients:
        if len(_clients) >= MOST_CLIENTS:
            client = "(others)"
        else:
            _clients.add(client)
    metrics.client_tasks.labels(client, outcome).inc(count)


def lag_of(item: Item, now: datetime) -> float | None:
    """Seconds since the vendor finished an item, by its own ``finished_at``; None if it named none."""
    finished = item.state.value("finished_at")
    if isinstance(finished, bool) or not isinstance(finished, (int, float)) or finished <= 0:
        return None
    finished_s = finished / 1000 if finished >= MILLISECONDS_FROM else finished
    return to_us(now) / 1_000_000 - finished_s


def _trace(entries: Iterable[tuple[Task, Entry]], applied_ns: int) -> None:
    """Trace new entries of tasks as spans of their traces: a callback from its arrival on, with its application under
    it, which began at ``applied_ns``."""
    end_ns = time.time_ns()
    for task, entry in entries:
        if task.traceparent is None:
            continue
        parent, named = task.traceparent, {"task_id": str(task.id), "task_kind": task.kind}
        if entry.type == "callback":
            parent = traces.past("callback", parent, to_us(entry.at) * 1000, end_ns, **named)
        traces.past("apply", parent, applied_ns, end_ns, change=entry.type, status=task.status.value, **named)


def _fields(task: Task, entry: Entry) -> dict[str, Any]:
    """The fields of an entry's line: ids, statuses and codes only. What the vendor or a client said may hold signed
    URLs, and is in the timeline."""
    detail = entry.detail
    fields: dict[str, Any] = {"task_id": str(task.id), "client": task.client_name, "kind": task.kind}
    if task.traceparent is not None:
        fields["trace_id"] = task.traceparent.split("-")[1]
    notes = detail.get("items", ())
    if notes:
        fields["item_ids"] = [note["item_id"] for note in notes]
        fields |= {"events": events} if (events := [note["event"] for note in notes if "event" in note]) else {}
    if (move := detail.get("status")) is not None:
        fields["was"], fields["status"] = str(move[0]), str(move[1])
    return fields | {name: detail[name] for name in _NAMED if name in detail}
