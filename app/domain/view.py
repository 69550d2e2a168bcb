"""What an item looks like from outside: its status, its artifacts, whether anything more is to come.

Derived from the joined state and the gateway's own verdicts (unknown to the vendor, follow-ups exhausted,
expired); the verdicts never flow back into the state.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from app.domain.item import ItemState
from app.domain.observation import from_us, to_us
from app.domain.policy import Policy
from app.domain.shape import Artifact, Shape
from app.domain.status import ITEM_FINAL, ItemStatus, SubStatus, item_status
from app.domain.task import Item, Task


class ArtifactStatus(StrEnum):
    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """``url`` is a string, or the list or object that the vendor sent in its place."""

    status: ArtifactStatus
    url: Any = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ItemView:
    """``settled``: final, and nothing that is missing can still come or is still asked for."""

    status: ItemStatus
    artifacts: dict[str, ArtifactView]
    sections: ArtifactStatus | None
    unknown_to_vendor: bool
    complete: bool
    settled: bool

    @property
    def final(self) -> bool:
        return self.status in ITEM_FINAL


def view_item(item: Item, task: Task, shape: Shape, policy: Policy) -> ItemView:
    """Derive the view of one item. Pure; the same state and verdicts give the same view."""
    unknown = unknown_to_vendor(item, task, policy)
    status = ItemStatus.FAILED if unknown else item_status(item.state.statuses.get("status"))
    final = status in ITEM_FINAL
    given_up = status is ItemStatus.FAILED or task.expired_at is not None
    exhausted = given_up or (final and item.follow_ups >= policy.follow_ups)
    artifacts = {
        artifact.name: shown
        for artifact in shape.artifacts
        if (shown := _view_artifact(artifact, item.state, exhausted)) is not None
    }
    sections = _view_sections(item.state, shape, exhausted) if task.sung else None
    pending = [one.status for one in artifacts.values()] + ([sections] if sections else [])
    complete = final and ArtifactStatus.PENDING not in pending
    return ItemView(status, artifacts, sections, unknown, complete, final and (complete or exhausted))


def unknown_to_vendor(item: Item, task: Task, policy: Policy) -> bool:
    """Whether the vendor has denied an item that is not final for longer than the grace.

    Counted from the last time that it was seen, or from the submission: a young item is often just not
    visible yet. Any later sighting undoes it.
    """
    state = item.state
    if state.unknown_us is None or item_status(state.statuses.get("status")) in ITEM_FINAL:
        return False
    since = max(to_us(task.submitted_at or item.created_at), state.sighted_us or 0)
    return state.unknown_us - since >= policy.unknown_grace_s * 1_000_000


def _view_artifact(artifact: Artifact, state: ItemState, exhausted: bool) -> ArtifactView | None:
    latest = max(
        (found for name in artifact.fields if (found := state.latest_url(name))),
        key=lambda pair: (pair[1], pair[0]),
        default=None,
    )
    if latest is not None:
        text, seen = latest
        url = msgspec.json.decode(text) if text[:1] in "[{" else text
        return ArtifactView(ArtifactStatus.READY, url, from_us(seen) + artifact.lifetime)
    if not artifact.required:
        return None
    if exhausted or _sub_failed(state, artifact.status_field):
        return ArtifactView(ArtifactStatus.FAILED)
    return ArtifactView(ArtifactStatus.PENDING)


def _view_sections(state: ItemState, shape: Shape, exhausted: bool) -> ArtifactStatus | None:
    if shape.sections_field is None:
        return None
    if state.has(shape.sections_field):
        return ArtifactStatus.READY
    if exhausted or _sub_failed(state, shape.sections_status):
        return ArtifactStatus.FAILED
    return ArtifactStatus.PENDING


def _sub_failed(state: ItemState, field: str | None) -> bool:
    return field is not None and state.statuses.get(field) == SubStatus.SUB_FAILED
