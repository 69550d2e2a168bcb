"""Derive the view of an item: its status, its artifacts, whether anything more is to come.

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
from app.rules.status import ITEM_FINAL, ItemStatus, SubStatus, item_status
from app.rules.task import Item, Task
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
    unknown_to_vendor: bool
    lacking: tuple[tuple[str, ArtifactStatus], ...]
    settled: bool

    @property
    def final(self) -> bool:
        return self.status in ITEM_FINAL

    @property
    def complete(self) -> bool:
        """Final, and nothing is still to come."""
        return self.final and _nothing_pending(self.lacking)


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
    lacking = [
        (artifact.name, _lack(state, exhausted, artifact.status_field))
        for artifact in shape.required
        if not state.has_url(artifact.fields)
    ]
    if task.sung and shape.sections_field is not None and not state.has(shape.sections_field):
        lacking.append((shape.sections_field, _lack(state, exhausted, shape.sections_status)))
    settled = final and (exhausted or _nothing_pending(lacking))
    return Progress(status, unknown, tuple(lacking), settled)


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


def has_expired_link(view: ItemView, shape: Shape, at: datetime) -> bool:
    """Whether the link to a file of an item is not valid any more, and the vendor may have a new one."""
    shown = (view.artifacts.get(artifact.name) for artifact in shape.artifacts if artifact.lasts)
    return any(
        artifact_view is not None and artifact_view.expires_at is not None and artifact_view.expires_at <= at
        for artifact_view in shown
    )


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


def _nothing_pending(lacking: Sequence[tuple[str, ArtifactStatus]]) -> bool:
    return not any(lack is ArtifactStatus.PENDING for _, lack in lacking)


def _lack(state: ItemState, exhausted: bool, status_field: str | None) -> ArtifactStatus:
    sub_failed = status_field is not None and state.statuses.get(status_field) == SubStatus.SUB_FAILED
    return ArtifactStatus.FAILED if exhausted or sub_failed else ArtifactStatus.PENDING


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
        url = shown if artifact.several and shown else next(_urls_in(files), None)
    return ArtifactView(ArtifactStatus.READY, url, _expires_at(text, from_us(seen_us), artifact.lifetime))


def files_in(text: str) -> Any:
    """A URL as it is kept, or the list or object that the vendor sent in its place, of which the JSON is kept."""
    return msgspec.json.decode(text) if text[:1] in "[{" else text


def _urls_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip().lower().startswith(("https://", "http://", "//")):
            yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _urls_in(part)


_AUTH_KEY: Final = re.compile(r"[?&]auth_key=([0-9]{9,11})(?![0-9])", re.ASCII)
_LONGEST_LIFETIME: Final = timedelta(days=30)


def _expires_at(text: str, seen: datetime, lifetime: timedelta) -> datetime:
    """When the URLs in a text expire: at the earliest end that one of them names itself, if it can be true, else a
    lifetime after they were first seen."""
    ends = (datetime.fromtimestamp(int(second), UTC) for second in _AUTH_KEY.findall(text))
    return min((end for end in ends if seen < end <= seen + _LONGEST_LIFETIME), default=seen + lifetime)
