"""What one callback means to the mapped objects, in the plain way: plain Python, shared by both databases."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from benchmarks.plain_tables import Callback, Item, Outbox, Task, Timeline

ITEM_ORDER: Final = ("waiting", "running", "main_succeeded", "failed", "part_failed", "succeeded")
SUB_ORDER: Final = ("waiting", "running", "sub_failed", "sub_succeeded")
FINAL: Final = ("failed", "part_failed", "succeeded")
QUERY_AFTER: Final = timedelta(seconds=240)
URLS: Final = (
    ("audio_url", "audio_url", "audio_seen_at"),
    ("audio_hi_url", "audio_hi_url", "audio_hi_seen_at"),
    ("streamAudioUrl", "stream_url", "stream_seen_at"),
)
VALUES: Final = (
    ("title", "title"),
    ("style", "style"),
    ("model", "model"),
    ("prompt", "prompt"),
    ("duration", "duration_s"),
    ("lyrics", "lyrics"),
    ("lyrics_sections", "lyrics_sections"),
)


def digest_of(task_id: UUID | None, family: str, body: bytes) -> bytes:
    """The key of a body in the inbound log."""
    return hashlib.sha256(b"%s\0%s\0%s" % (str(task_id).encode(), family.encode(), body)).digest()


def new_callback(
    callback_id: UUID, digest: bytes, task_id: UUID | None, family: str, body: bytes, address: str | None, at: datetime
) -> Callback:
    """A first copy for the inbound log."""
    return Callback(
        id=callback_id,
        digest=digest,
        task_id=task_id,
        family=family,
        body=body,
        address=address,
        received_at=at,
        last_received_at=at,
        times=1,
    )


def new_external_task(task_id: UUID, family: str, at: datetime) -> Task:
    """A task that somebody else submitted."""
    return Task(
        id=task_id,
        kind=f"{family}.external",
        family=family,
        client_name="external",
        params={},
        status="running",
        version=0,
        created_at=at,
        updated_at=at,
        submitted_at=at,
        deadline_at=at + timedelta(hours=1),
        timeline_seq=0,
    )


def new_item(family: str, item_id: str, task_id: UUID, position: int) -> Item:
    """An item that was not known before."""
    return Item(
        family=family,
        item_id=item_id,
        task_id=task_id,
        position=position,
        status="waiting",
        audio_hi_status="waiting",
        lyrics_sections_status="waiting",
        vendor={},
    )


def join_item(item: Item, shown: dict[str, Any], at: datetime) -> dict[str, Any]:
    """Bring an item up to what a callback shows. Returns what changed."""
    before = {"status": item.status, "audio_hi_status": item.audio_hi_status}
    item.status = _later(ITEM_ORDER, item.status, shown.get("status"))
    item.audio_hi_status = _later(SUB_ORDER, item.audio_hi_status, shown.get("audio_hi_status"))
    item.lyrics_sections_status = _later(SUB_ORDER, item.lyrics_sections_status, shown.get("lyrics_sections_status"))
    changed = {name: [old, getattr(item, name)] for name, old in before.items() if getattr(item, name) != old}
    fields = []
    for theirs, url_name, seen_name in URLS:
        url = shown.get(theirs)
        if isinstance(url, str) and url.startswith(("http://", "https://")) and getattr(item, url_name) != url:
            setattr(item, url_name, url)
            setattr(item, seen_name, at)
            fields.append(theirs)
    for theirs, ours in VALUES:
        value = shown.get(theirs)
        if value not in (None, "", []) and getattr(item, ours) != value:
            setattr(item, ours, value)
            fields.append(theirs)
    kept = {name: value for name, value in shown.items() if value is not None and name != "lyrics_sections"}
    item.vendor = item.vendor | kept
    item.last_callback_at = at
    complete = item.audio_url and item.audio_hi_url and item.lyrics_sections
    item.query_due_at = None if item.status in FINAL and complete else at + QUERY_AFTER
    return changed | {"fields": fields}


def update_task(task: Task, items: Sequence[Item], at: datetime) -> list[str]:
    """Derive a task from its items. Returns the milestones that it passes."""
    before = task.status
    statuses = [item.status for item in items]
    if all(status in FINAL for status in statuses):
        kinds = set(statuses)
        task.status = kinds.pop() if len(kinds) == 1 else "part_failed"
    elif all(status == "main_succeeded" or status in FINAL for status in statuses):
        task.status = "main_succeeded"
    else:
        task.status = "running"
    task.version += 1
    task.updated_at = at
    milestones = []
    if task.status in ("main_succeeded", "succeeded", "part_failed") and task.playable_at is None:
        task.playable_at = at
        milestones.append("task.playable")
    if task.status in FINAL and before != task.status:
        task.finished_at = task.finished_at or at
        milestones.append(f"task.{task.status}")
    return milestones


def new_entry(task: Task, at: datetime, detail: dict[str, Any]) -> Timeline:
    """The next row of a task's timeline."""
    task.timeline_seq += 1
    return Timeline(task_id=task.id, seq=task.timeline_seq, at=at, type="callback", version=task.version, detail=detail)


def new_notification(outbox_id: UUID, task: Task, items: Sequence[Item], milestone: str, at: datetime) -> Outbox:
    """A notification of a milestone, its body frozen."""
    data = {
        "id": str(task.id),
        "status": task.status,
        "version": task.version,
        "items": [{"item_id": item.item_id, "status": item.status, "vendor": item.vendor} for item in items],
    }
    body = {"type": milestone, "timestamp": at.isoformat(), "data": data}
    return Outbox(id=outbox_id, task_id=task.id, type=milestone, body=body, due_at=at)


def _later(order: Sequence[str], ours: str, theirs: Any) -> str:
    if not isinstance(theirs, str) or theirs not in order:
        return ours
    return max(ours, theirs, key=order.index)
