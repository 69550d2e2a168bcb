"""Plan which result files are copied into the archive, and note the outcome of each copy."""

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from app.rules.item_shape import Artifact, Shape
from app.rules.loaded_state import CopyJob, Loaded
from app.rules.schedule import wants_link
from app.rules.task import Copy, CopyStatus, Item, Task
from app.rules.views import ArtifactView, ready_artifact

NOT_ONE_URL = "not_one_url"
"""Why there is no copy of an artifact that the vendor gave as a list or an object of URLs."""


RETENTION: Final = "retention"
"""Why a copy is kept no more. A new link brings no other one."""


class CopyResult(msgspec.Struct, frozen=True):
    """The outcome of copying one artifact."""

    family: str
    item_id: str
    name: str
    copy: Copy


def plan_copies(loaded: Loaded, task: Task, shape: Shape, at: datetime) -> None:
    """Plan a copy of each file of a task that has become ready, and another of each of which a new link came while it
    was not kept. A stream is not kept: it is for the minutes until its file is there."""
    for item in loaded.items_of(task):
        for artifact in shape.artifacts:
            copy = item.copies.get(artifact.name) if item.copies else None
            if (ready := _source(artifact, item, copy)) is None:
                continue
            is_new_link = not loaded.new_links.get(item.key, frozenset()).isdisjoint(artifact.fields)
            # A copy that is still to be made goes with its item to another task.
            is_moved = copy is not None and copy.status is CopyStatus.PENDING and item.key in loaded.moved
            if copy is not None and not (is_new_link or is_moved):
                continue
            if (job := _job(item, artifact, ready, at)) is not None:
                loaded.copy_jobs[item.key, artifact.name] = job
                _set(loaded, item, artifact.name, Copy(CopyStatus.PENDING))
            else:
                _set(loaded, item, artifact.name, Copy(CopyStatus.FAILED, reason=NOT_ONE_URL))


def retries(item: Item, shape: Shape, at: datetime) -> list[CopyJob]:
    """The copies of an item that were given up and can be tried again, as jobs."""
    due_again = []
    for artifact in shape.artifacts:
        copy = (item.copies or {}).get(artifact.name)
        if copy is not None and copy.status is CopyStatus.FAILED and (ready := _source(artifact, item, copy)):
            due_again.append(_job(item, artifact, ready, at))
    return [job for job in due_again if job is not None]


def _source(artifact: Artifact, item: Item, copy: Copy | None) -> ArtifactView | None:
    """What the file of an artifact is to be copied from; None where it is not to be copied (any more)."""
    is_over = copy is not None and (copy.status is CopyStatus.KEPT or copy.reason == RETENTION)
    return ready_artifact(artifact, item.state) if artifact.lasts and not is_over else None


def _job(item: Item, artifact: Artifact, ready: ArtifactView, at: datetime) -> CopyJob | None:
    """The job to copy a file; None where the vendor gave several in place of one."""
    if not isinstance(ready.url, str) or ready.expires_at is None:
        return None
    return CopyJob(item.key, artifact.name, item.task_id, at, ready.expires_at)


def note_asked(item: Item) -> None:
    """Note that the vendor was asked about an item: whoever waits for a new link has it now, or asks again after the
    next try."""
    if wants_link(item):
        item.copies = {
            name: replace(copy, reason=None) if copy.status is CopyStatus.PENDING else copy
            for name, copy in (item.copies or {}).items()
        }


def note_copy(loaded: Loaded, result: CopyResult) -> dict[str, Any] | None:
    """Note the outcome of a copy. Returns the note for the timeline, None where the item is not there any more."""
    item = loaded.items.get((result.family, result.item_id))
    if item is None:
        return None
    _set(loaded, item, result.name, result.copy)
    note = {"item_id": item.item_id, "artifact": result.name, "copy": result.copy.status.value}
    return note | ({"reason": result.copy.reason} if result.copy.reason else {})


def _set(loaded: Loaded, item: Item, name: str, copy: Copy) -> None:
    before = (item.copies or {}).get(name)
    if copy.status is CopyStatus.PENDING and before is not None and item.key not in loaded.moved:
        was_reported = before.status is CopyStatus.FAILED and loaded.visible[item.task_id].archived
        copy = replace(copy, again=before.again or was_reported)
    item.copies = {**(item.copies or {}), name: copy}
    loaded.dirty_items.add(item.key)
