"""Derive the view of an item (its status, its artifacts, whether anything more is to come), and the visible state of a
task: what a client can see of it and that can change, to compare two moments.

Derived from the joined state and the gateway's own verdicts (unknown to the vendor, follow-ups exhausted,
expired); the verdicts never flow back into the state.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from app.rules.item_shape import Artifact, Shape
from app.rules.join import ItemState
from app.rules.policy import Policy
from app.rules.status import ITEM_FINAL, TASK_FINAL, ItemStatus, SubStatus, item_status
from app.rules.task import CopyStatus, Item, Task
from app.rules.times import from_us, to_us


class ArtifactStatus(StrEnum):
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """An artifact as it is shown. ``url`` is a string; of an artifact of ``several`` files also the list (of strings
    and objects) or the object that the vendor sent in its place."""

    status: ArtifactStatus
    url: Any = None
    expires_at: datetime | None = None


class Progress(NamedTuple):
    """How far an item is. ``lacking``: artifacts (and the aligned lyrics) that are not there, and whether they are
    still to come. ``settled``: final, and nothing that is missing can still come or is still asked for."""

    status: ItemStatus
    final: bool
    unknown_to_vendor: bool
    lacking: tuple[tuple[str, ArtifactStatus], ...]
    settled: bool


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item with its artifacts. ``sections``: the aligned lyrics, None where the task has none."""

    progress: Progress
    artifacts: dict[str, ArtifactView]
    sections: ArtifactStatus | None


def progress_of(item: Item, task: Task, shape: Shape, policy: Policy) -> Progress:
    """Derive how far an item is. Pure; the same state and verdicts give the same."""
    state = item.state
    unknown = unknown_to_vendor(item, task, policy)
    status = ItemStatus.FAILED if unknown else item_status(state.statuses.get("status"))
    final = status in ITEM_FINAL
    given_up = status is ItemStatus.FAILED or task.expired_at is not None
    exhausted = given_up or (final and item.follow_ups >= policy.follow_ups)
    missing = [
        (artifact.name, artifact.status_field)
        for artifact in shape.required
        if state.urls.keys().isdisjoint(artifact.fields)
    ]
    if task.sung and shape.sections_field is not None and not state.has(shape.sections_field):
        missing.append((shape.sections_field, shape.sections_status))
    lacking = []
    for name, field in missing:
        sub_failed = field is not None and state.statuses.get(field) == SubStatus.SUB_FAILED
        lacking.append((name, ArtifactStatus.FAILED if exhausted or sub_failed else ArtifactStatus.PENDING))
    settled = final and all(lack is ArtifactStatus.FAILED for _, lack in lacking)
    return Progress(status, final, unknown, tuple(lacking), settled)


def view_item(item: Item, task: Task, shape: Shape, policy: Policy) -> ItemView:
    """Derive the view of one item. Pure, as ``progress_of``."""
    progress = progress_of(item, task, shape, policy)
    lacking = dict(progress.lacking)
    artifacts: dict[str, ArtifactView] = {}
    for artifact in shape.artifacts:
        ready = ready_artifact(artifact, item.state)
        if ready is not None:
            artifacts[artifact.name] = ready
        elif artifact.name in lacking:
            artifacts[artifact.name] = ArtifactView(lacking[artifact.name])
    field = shape.sections_field
    sections = lacking.get(field, ArtifactStatus.READY) if task.sung and field is not None else None
    return ItemView(progress, artifacts, sections)


def has_expired_link(item: Item, task: Task, shape: Shape, policy: Policy, at: datetime) -> bool:
    """Whether the link to a file of an item is not valid any more, and the vendor may have a new one. A file that the
    archive keeps needs none."""
    copies = (item.copies or {}) if policy.archives else {}
    kept = {name for name, copy in copies.items() if copy.status is CopyStatus.KEPT}
    shown = view_item(item, task, shape, policy).artifacts
    views = (shown.get(artifact.name) for artifact in shape.artifacts if artifact.lasts and artifact.name not in kept)
    return any(view is not None and view.expires_at is not None and view.expires_at <= at for view in views)


def unknown_to_vendor(item: Item, task: Task, policy: Policy) -> bool:
    """Whether the vendor has denied an item that is not final for longer than the grace.

    Counted from the last time that it was seen, or from the submission: a young item is often just not
    visible yet. Any later sighting undoes it.
    """
    state = item.state
    if state.unknown_us is None or item_status(state.statuses.get("status")) in ITEM_FINAL:
        return False
    return state.unknown_us - unseen_since_us(item, task) >= policy.unknown_grace_s * 1_000_000


def unseen_since_us(item: Item, task: Task) -> int:
    """When an item was last seen, or submitted, if it never was."""
    return max(to_us(task.submitted_at or item.created_at), item.state.sighted_us or 0)


def ready_artifact(artifact: Artifact, state: ItemState) -> ArtifactView | None:
    """The view of an artifact whose URL is known; None otherwise."""
    latest = max(
        (found for name in artifact.fields if (found := state.latest_url(name))),
        key=lambda pair: (pair[1], pair[0]),
        default=None,
    )
    if latest is None:
        return None
    text, seen_us = latest
    url = files = files_in(text)
    if not isinstance(files, str):
        shown = [file for file in files if isinstance(file, (str, dict))] if isinstance(files, list) else files
        url = shown if artifact.several and shown else next(urls_in(files), None)
    return ArtifactView(ArtifactStatus.READY, url, _expires_at(text, from_us(seen_us), artifact.lifetime))


def files_in(text: str) -> Any:
    """A URL as it is kept, or the list or object that the vendor sent in its place, of which the JSON is kept."""
    return msgspec.json.decode(text) if text[:1] in "[{" else text


def urls_in(value: Any) -> Iterator[str]:
    """The URLs in a text, list or object, however deep, in their order."""
    if isinstance(value, str):
        if value.strip().lower().startswith(("https://", "http://", "//")):
            yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from urls_in(part)


_AUTH_KEY: Final = re.compile(r"[?&]auth_key=([0-9]{9,11})(?![0-9])", re.ASCII)
_LONGEST_LIFETIME: Final = timedelta(days=30)


def _expires_at(text: str, seen: datetime, lifetime: timedelta) -> datetime:
    """When the URLs in a text expire: at the earliest end that one of them names itself, if it can be true, else a
    lifetime after they were first seen."""
    ends = (datetime.fromtimestamp(int(second), UTC) for second in _AUTH_KEY.findall(text))
    return min((end for end in ends if seen < end <= seen + _LONGEST_LIFETIME), default=seen + lifetime)


_STATUS: Final = 0
_SUBMITTED_AT: Final = 2

ItemsProgress = Sequence[tuple[Item, Progress]]
"""The items of a task, each with how far it is."""


class VisibleState:
    """What a task shows at one moment; equal where no client could tell the two apart. A state is never changed in
    place, so it is looked into only where it was replaced."""

    __slots__ = ("_items", "_kept", "_playable", "_task", "archived")

    def __init__(self, task: Task, progress_of_items: ItemsProgress) -> None:
        self._task = (task.status, task.failure, task.submitted_at, task.deadline_at, task.submitted_model)
        self._playable = task.playable_at is not None
        self._items = [((item.item_id, progress, item.copies), item.state) for item, progress in progress_of_items]
        copies = [copy for item, _ in progress_of_items for copy in (item.copies or {}).values()]
        self._kept = sum(copy.status is CopyStatus.KEPT for copy in copies)
        # A copy that was given up, and of which the client was told so, holds nothing up while it is tried once more.
        self.archived = (
            task.status in TASK_FINAL
            and bool(copies)
            and not any(copy.status is CopyStatus.PENDING and not copy.again for copy in copies)
            and all(progress.settled for _, progress in progress_of_items)
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VisibleState):
            return NotImplemented
        if self._task != other._task or len(self._items) != len(other._items):
            return False
        return all(
            ours[0] == theirs[0] and (ours[1] is theirs[1] or _look(ours[1]) == _look(theirs[1]))
            for ours, theirs in zip(self._items, other._items, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def milestones_to(self, after: "VisibleState") -> list[str]:
        """The notifications that are due between two moments of one task, in their order: each milestone that was
        passed, also when several were at once; the end again, where something came (or was given up) later; and that
        the files are archived again, where one is kept that had been given up."""
        passed = []
        if after._task[_SUBMITTED_AT] is not None and self._task[_SUBMITTED_AT] is None:
            passed.append("running")
        if after._playable and not self._playable:
            passed.append("playable")
        status = after._task[_STATUS]
        if status in TASK_FINAL and (status is not self._task[_STATUS] or self._lacking() != after._lacking()):
            passed.append(status.value)
        if after.archived and (not self.archived or after._kept > self._kept):
            passed.append("archived")
        return passed

    def _lacking(self) -> list[Any]:
        return [(item_id, progress.lacking) for (item_id, progress, _), _ in self._items]


def _look(state: ItemState) -> Any:
    return (
        state.statuses,
        {name: state.latest_url(name) for name in state.urls},
        {name: kept[1] for name, kept in state.values.items()},
        {name: kept[1] for name, kept in state.large.items()},
        state.left_out,
    )
