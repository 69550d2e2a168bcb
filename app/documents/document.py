"""Render tasks and timelines as clients see them: the JSON of the product contract, derived from what is stored."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.app_context import Context
from app.documents.task_warnings import warnings_of
from app.limits import wait_reasons
from app.limits.wait_reasons import CurrentHolds
from app.rules.item_shape import Shape
from app.rules.join import ItemState, size_of
from app.rules.observation import is_odd, left_out, name_of
from app.rules.policy import Policy
from app.rules.status import TASK_FINAL, TaskStatus
from app.rules.task import Copy, CopyStatus, Failure, Item, Task
from app.rules.times import later, rfc3339
from app.rules.views import ArtifactStatus, ArtifactView, ItemView, files_in, view_item
from app.runtime.file_links import ArtifactRef, readable_name
from app.tasks import item_rows, state_store
from app.tasks.learned_delays import Delays
from app.tasks.task_rows import TaskRecord
from app.tasks.timeline import StoredEntry
from app.tempolor.kinds import FAMILIES
from app.tempolor.values import as_lines, as_number, as_text, in_seconds

Document = dict[str, Any]
SUMMARY_VALUES: Final = frozenset({"title", "style", "model", "duration", "err_msg", "error"})
"""The vendor's fields that a summary is made of."""
_NOT_IN_SUMMARY: Final = frozenset({"lyrics", "lyrics_sections", "vendor"})
Read = Callable[[list[TaskRecord]], list[Document]]

MOST_TASK_BYTES: Final = 4 * 1024 * 1024
"""Limit of a task's JSON, whatever the vendor or somebody with its callback URL sent."""
_MOST_ITEMS_BYTES: Final = MOST_TASK_BYTES - 256 * 1024
_WHOLE_ITEMS: Final = 5
"""So many items fit however large each is."""
MOST_PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page of tasks ends with the one that goes beyond this."""
_FIRST_PART: Final = 4
_NO_COPY: Final = {
    ArtifactStatus.PENDING: Copy(CopyStatus.PENDING),
    ArtifactStatus.FAILED: Copy(CopyStatus.FAILED, reason="artifact_failed"),
    # What is ready while copies are kept has one planned in the same transaction.
    ArtifactStatus.READY: Copy(CopyStatus.FAILED, reason="archive_was_off"),
}
"""What is shown of a copy of which nothing is known, by what its artifact is."""
_SMALL_PART_BYTES: Final = 1024 * 1024


def documents(
    conn: sa.Connection, records: list[TaskRecord], context: Context, *, summary: bool = False
) -> list[Document]:
    """Read the items of tasks, and render these: two statements, however many there are, and two more where one of
    them is queued. ``summary``: without lyrics, also in ``params``, and without ``vendor``."""
    items_of_all = state_store.items_of(conn, [record.task.id for record in records])
    values = item_rows.values_of(conn, items_of_all, SUMMARY_VALUES if summary else None)
    by_task: dict[UUID, list[Item]] = {}
    for item in items_of_all:
        by_task.setdefault(item.task_id, []).append(item)
    queued = any(record.task.status is TaskStatus.QUEUED for record in records)
    waits = wait_reasons.read(conn, context.policy, context.clock.now()) if queued else None
    found = [
        task_document(record, by_task.get(record.task.id, []), values, context, waits, summary=summary)
        for record in records
    ]
    for record, document in zip(records, found, strict=True):
        document["expected_playable_at"] = _expected_document(record.task, context.delays, context.clock.now())
    return found


def task_document(
    record: TaskRecord,
    own: list[Item],
    values: dict[str, Any],
    context: Context,
    waits: CurrentHolds | None = None,
    *,
    summary: bool = False,
    policy: Policy | None = None,
) -> Document:
    """Render a task. ``values``: the large values of its items, by digest; ``waits``: what is on hold, for one that may
    be queued; ``summary``: without lyrics and ``vendor``; ``policy``: another than the present one."""
    task, task_input = record.task, record.input
    shape = FAMILIES[task.family].shape
    views = [(item, view_item(item, task, shape, policy or context.policy)) for item in own]
    failure = _failure(task, views)
    shown = [_item_document(item, view, values, shape, context) for item, view in views]
    params = task_input.params
    if summary:
        shown = [{name: value for name, value in item.items() if name not in _NOT_IN_SUMMARY} for item in shown]
        params = {name: value for name, value in params.items() if name != "lyrics"}
    shortened = not summary and fit_items(shown)
    wait = wait_reasons.wait_reason_of(record, waits) if waits is not None and not own else None
    return {
        "id": str(task.id),
        "kind": task.kind,
        "status": task.status.value,
        "client": task.client_name,
        "reference": task_input.reference,
        "metadata": task_input.metadata,
        "params": params,
        "submitted_model": task.submitted_model,
        "webhook_url": task.webhook_url,
        "webhook_events": task.webhook_events,
        "retry_of": str(task_input.retry_of) if task_input.retry_of else None,
        "items": shown,
        "waiting_for": {"reason": wait.reason, "since": rfc3339(wait.since), "until": rfc3339(wait.until)}
        if wait is not None
        else None,
        "expected_playable_at": None,
        "error": _error_document(failure) if failure else None,
        "warnings": warnings_of(record, views, shortened=shortened),
        "version": task.version,
        "created_at": rfc3339(task.created_at),
        "submitted_at": rfc3339(task.submitted_at),
        "playable_at": rfc3339(task.playable_at),
        "finished_at": rfc3339(task.finished_at),
        "updated_at": rfc3339(task.updated_at),
        "deadline_at": rfc3339(task.deadline_at),
    }


def timeline_documents(entries: list[StoredEntry]) -> list[Document]:
    """Render a timeline, oldest first. A change of status becomes an entry of its own, after what caused it."""
    rendered = []
    for entry in entries:
        detail = dict(entry.detail)
        status_change = detail.pop("status", None)
        place = {"seq": entry.seq, "at": rfc3339(entry.at)}
        if entry.type != "changed":
            rendered.append({**place, "type": entry.type, "version": entry.version, "detail": detail})
        if status_change:
            before, after = status_change
            status = {"from": before, "to": after}
            rendered.append({**place, "type": "status", "version": entry.version, "detail": status})
    return rendered


def _item_document(item: Item, view: ItemView, large: dict[str, Any], shape: Shape, context: Context) -> Document:
    state = item.state
    values = {key: value for key, (_, value) in state.values.items()}
    values |= {key: large[digest] for key, (_, digest) in state.large.items() if digest in large}
    title, lasting = as_text(values.get("title")), {artifact.name for artifact in shape.artifacts if artifact.lasts}
    return {
        "item_id": item.item_id,
        "status": view.progress.status.value,
        "title": title,
        "style": as_text(values.get("style")),
        "model": as_text(values.get("model")),
        "duration_s": as_number(values.get("duration")),
        "lyrics": next((as_lines(values[name]) for name in shape.lyrics_fields if name in values), None),
        "lyrics_sections": in_seconds(values.get("lyrics_sections")),
        "artifacts": {
            name: {
                "status": artifact.status.value,
                "url": artifact.url,
                "expires_at": rfc3339(artifact.expires_at),
                "archive": _copy_document(item, name, artifact, title, context) if name in lasting else None,
            }
            for name, artifact in view.artifacts.items()
        },
        "vendor": _vendor_document(item.item_id, state, values),
        "last_callback_at": rfc3339(item.last_callback_at),
        "last_query_at": rfc3339(item.last_query_at),
    }


def _copy_document(
    item: Item, name: str, artifact: ArtifactView, title: str | None, context: Context
) -> Document | None:
    """Render the archive's copy of an artifact; None where no copies are kept."""
    if context.files is None:
        return None
    copy = (item.copies or {}).get(name)
    if copy is None:
        copy = _NO_COPY[artifact.status]
    document: Document = {
        "status": copy.status.value,
        "bytes": copy.bytes,
        "sha256": copy.sha256,
        "media_type": copy.media_type,
        "url": None,
    }
    if copy.status is CopyStatus.KEPT and copy.media_type is not None:
        ref, file_name = ArtifactRef(item.family, item.item_id, name), readable_name(title, name, copy.media_type)
        document["url"] = context.files.artifact_url(ref, file_name, context.clock.now())
    return document | ({"reason": copy.reason} if copy.status is CopyStatus.FAILED else {})


def _vendor_document(item_id: str, state: ItemState, values: Document) -> Document:
    """Render the merged vendor item, in the vendor's own names. An odd value of a known field is shown until one of the
    field is understood."""
    urls = {name: files_in(latest[0]) for name in state.urls if (latest := state.latest_url(name))}
    odd = {name_of(key): value for key, value in values.items() if is_odd(key)}
    others = {name_of(key): value for key, value in values.items() if not is_odd(key)}
    return {"item_id": item_id, **odd, **others, **state.statuses, **urls}


def _failure(task: Task, views: list[tuple[Item, ItemView]]) -> Failure | None:
    """Find why a task ended without a usable result."""
    if task.status is TaskStatus.EXPIRED:
        return Failure("expired", _why_expired([item for item, _ in views]), retryable=True)
    if task.status is not TaskStatus.FAILED:
        return None
    if not views:
        return task.failure
    if all(view.progress.unknown_to_vendor for _, view in views):
        message = "The vendor does not know the items that it named."
        return Failure("item_unknown_to_vendor", message, retryable=True)
    words = (as_text(item.state.value(name)) for item, _ in views for name in ("err_msg", "error"))
    message = next((word for word in words if word is not None), "The vendor could not make it.")
    return Failure("generation_failed", message, retryable=True)


def _expected_document(task: Task, delays: Delays, now: datetime) -> Document | None:
    """From when to when a task that was sent will probably become playable, by the learned times of its kind; None once
    it is, and where it has taken longer than they say."""
    if task.claimed_at is None or task.playable_at is not None or task.status in TASK_FINAL:
        return None
    usual = delays.until_playable_s(task.kind)
    if usual is None or later(task.claimed_at, usual[1]) < now:
        return None
    earliest, latest = (later(task.claimed_at, seconds) for seconds in usual)
    return {"from": rfc3339(earliest), "to": rfc3339(latest)}


def _why_expired(own: list[Item]) -> str:
    message = "The deadline passed without a final word from the vendor."
    faulty = next((item for item in own if item.query_fault is not None), None)
    if faulty is None:
        return message
    times = "answer" if faulty.query_faults == 1 else f"{faulty.query_faults} answers"
    return f"{message} Its last {times} could not be used ({faulty.query_fault})."


def _error_document(failure: Failure) -> Document:
    return {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
        "vendor_status": failure.vendor_status,
        "vendor_request_id": failure.vendor_request_id,
    }


def fit_items(shown: Sequence[Document]) -> bool:
    """Shorten items of a task that are too large together: leave ``vendor`` out of those that take more than their
    share, then their lyrics. Returns whether something was left out."""
    if len(shown) <= _WHOLE_ITEMS:
        return False
    sizes = [size_of(item) for item in shown]
    if sum(sizes) <= _MOST_ITEMS_BYTES:
        return False
    share = _MOST_ITEMS_BYTES // len(shown)
    for item, size in zip(shown, sizes, strict=True):
        if size > share:
            item["vendor"] = left_out(size_of(item["vendor"]))
            if size_of(item) > share:
                item["lyrics"] = item["lyrics_sections"] = None
    return True


def page_of(records: list[TaskRecord], read: Read) -> list[Document]:
    """Read the documents of the first tasks, of all of them if they fit on a page."""
    page: list[Document] = []
    room = MOST_PAGE_BYTES
    for document, size in _in_parts(records, read):
        page.append(document)
        room -= size
        if room <= 0:
            break
    return page


def _in_parts(records: list[TaskRecord], read: Read) -> Iterator[tuple[Document, int]]:
    """Yield documents with their sizes, read in parts, so that not much more than a page is ever in memory: a few tasks
    first, and more while what is read is small."""
    start, count = 0, _FIRST_PART
    while part := records[start : start + count]:
        sized = [(document, size_of(document)) for document in read(part)]
        yield from sized
        start += count
        count = count * 2 if sum(size for _, size in sized) <= _SMALL_PART_BYTES else _FIRST_PART
