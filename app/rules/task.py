"""Tasks and items: the facts that are stored, and the status that is derived from them.

The facts are the submission (a small guarded machine, ``rules/submission``) and ``expired_at``. Items never
overwrite the submission: that an item exists proves that the vendor has the task, whatever we think we sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import msgspec
from typing_extensions import TypeAliasType

from app.rules.join import ItemState
from app.rules.observation import ItemKey
from app.rules.status import ITEM_FINAL, ITEM_USABLE, ItemStatus, TaskStatus


class Submission(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    LAPSED = "lapsed"
    CANCELED = "canceled"
    EXTERNAL = "external"
    """Submitted to the vendor by somebody else; there is nothing to send."""


FailureCode = TypeAliasType(
    "FailureCode",
    Literal[
        "bad_parameter",
        "content_violation",
        "expired",
        "generation_failed",
        "insufficient_points",
        "item_unknown_to_vendor",
        "kind_not_offered",
        "model_not_offered",
        "submit_outcome_unknown",
        "upload_unavailable",
        "vendor_busy",
        "vendor_error",
        "vendor_key_rejected",
        "vendor_queue_full",
        "vendor_rate_limited",
        "vendor_refused",
        "vendor_unreachable",
        "work_not_extendable",
        "work_not_found",
        "work_status_abnormal",
    ],
)
"""Our stable word for why a submission was refused or a task failed."""

EntryType = Literal[
    "accepted",
    "adopted",
    "archive_ended",
    "archive_retried",
    "archived",
    "callback",
    "canceled",
    "changed",
    "expired",
    "given_back",
    "lease_lapsed",
    "not_confirmed",
    "notification",
    "outcome_unknown",
    "query",
    "query_failed",
    "recovered",
    "refused",
    "replayed",
    "resolved",
    "submitted",
    "submitting",
]
"""The types of a timeline's rows. ``changed`` is shown as the change of status alone."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed, as clients see it. ``code`` is a ``FailureCode``, or one that another release has stored;
    ``message`` holds the vendor's own words where there are any."""

    code: str
    message: str
    retryable: bool
    vendor_status: int | None = None
    vendor_request_id: str | None = None


NotificationType = TypeAliasType(
    "NotificationType",
    Literal[
        "task.running",
        "task.playable",
        "task.archived",
        "task.succeeded",
        "task.part_failed",
        "task.failed",
        "task.expired",
        "task.canceled",
    ],
)
"""What a client can be notified of. This alias and the next keep their names in the OpenAPI document."""


class CopyStatus(StrEnum):
    PENDING = "pending"
    KEPT = "kept"
    FAILED = "failed"


class Copy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The copy of an artifact in the archive. ``path``: where it lies in the store; ``reason``: why there will be
    none; ``again``: its client was told that it was given up (``task.archived``), and it is tried once more."""

    status: CopyStatus
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    media_type: str | None = None
    reason: str | None = None
    again: bool = False


class Item(msgspec.Struct):
    """One item: its owner, its state, and when to ask about it next.

    ``follow_ups``: answered queries since the item was final with an artifact missing.
    ``query_attempts``: answered or failed queries since the vendor last sent news of it.
    ``query_group``: items that must be asked apart ("" for none), see the reconciler.
    ``query_fault``: what was wrong with the latest answer, if it could not be used, and how many in a row were wrong
    like that (``query_faults``).
    ``copies``: of its artifacts, by name, where an archive keeps them.
    """

    family: str
    item_id: str
    task_id: UUID
    named_by: int
    position: int
    state: ItemState
    created_at: datetime
    follow_ups: int = 0
    last_callback_at: datetime | None = None
    last_query_at: datetime | None = None
    query_due_at: datetime | None = None
    query_leased_until: datetime | None = None
    query_attempts: int = 0
    query_group: str = ""
    query_fault: str | None = None
    query_faults: int = 0
    status: ItemStatus = ItemStatus.WAITING
    copies: dict[str, Copy] | None = None
    new: bool = False

    @property
    def key(self) -> ItemKey:
        return (self.family, self.item_id)


class Task(msgspec.Struct):
    """The changing part of a task. What the client sent (params, metadata …) is stored beside it and not read here.
    ``webhook_events``: the types that its client is notified of, None: all."""

    id: UUID
    kind: str
    family: str
    client_name: str
    sung: bool
    created_at: datetime
    webhook_url: str | None = None
    webhook_events: list[str] | None = None
    traceparent: str | None = None
    submission: Submission = Submission.QUEUED
    submit_id: UUID | None = None
    submit_attempts: int = 0
    claimed_at: datetime | None = None
    unconfirmed_at: datetime | None = None
    submitted_at: datetime | None = None
    not_before_at: datetime | None = None
    expired_at: datetime | None = None
    deadline_at: datetime | None = None
    failure: Failure | None = None
    status: TaskStatus = TaskStatus.QUEUED
    version: int = 1
    playable_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None
    dispatch_due_at: datetime | None = None
    timer_due_at: datetime | None = None
    slot_until: datetime | None = None
    timeline_seq: int = 0
    stored_bodies: int = 0
    submitted_model: str | None = None
    new: bool = False

    @property
    def external(self) -> bool:
        return self.submission is Submission.EXTERNAL


class Entry(msgspec.Struct):
    """One row of a task's timeline, before it has its number. ``detail`` is JSON."""

    at: datetime
    type: EntryType
    detail: dict[str, Any] = msgspec.field(default_factory=dict)


def derive_status(submission: Submission, expired: bool, items: Sequence[ItemStatus]) -> TaskStatus:
    """Derive the status of a task: the first rule that matches, as the contract's table has them.

    While the answer to a submission is outstanding the task is not final: the answer may name more items.
    """
    if items and submission is not Submission.SENDING and all(status in ITEM_FINAL for status in items):
        kinds = set(items)
        return TaskStatus(kinds.pop()) if len(kinds) == 1 else TaskStatus.PART_FAILED
    if expired:
        return TaskStatus.EXPIRED
    if items:
        all_done = all(status in ITEM_USABLE or status in ITEM_FINAL for status in items)
        playable = any(status in ITEM_USABLE for status in items)
        return TaskStatus.MAIN_SUCCEEDED if all_done and playable else TaskStatus.RUNNING
    return _BY_SUBMISSION[submission]


_BY_SUBMISSION = {
    Submission.ACCEPTED: TaskStatus.RUNNING,
    Submission.EXTERNAL: TaskStatus.RUNNING,
    Submission.CANCELED: TaskStatus.CANCELED,
    Submission.REFUSED: TaskStatus.FAILED,
    Submission.LAPSED: TaskStatus.FAILED,
    Submission.UNKNOWN: TaskStatus.UNCONFIRMED,
    Submission.SENDING: TaskStatus.SUBMITTING,
    Submission.QUEUED: TaskStatus.QUEUED,
}
