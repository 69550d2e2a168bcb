"""Log what happened to tasks, at ``info``: a line for each new entry of a timeline, so that one task can be followed by
its id over the logs of all processes.

Ids, statuses and codes only: what the vendor or a client said may hold signed URLs, and is in the timeline.
"""

from collections.abc import Sequence
from typing import Any, Final

import structlog

from app.rules.task import Entry, Task

_NAMED: Final = frozenset(
    {
        *("callback_id", "notification_id", "notification", "outcome", "attempts"),
        *("attempt", "code", "vendor_status", "reason", "late"),
    }
)

log = structlog.get_logger(__name__)


def write(entries: Sequence[tuple[Task, Entry]]) -> None:
    """Log entries of tasks, once they are durable."""
    for task, entry in entries:
        log.info(f"task.{entry.type}", **_fields(task, entry))


def _fields(task: Task, entry: Entry) -> dict[str, Any]:
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
